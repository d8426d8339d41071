with

numbered as (

    select * from {{ ref('int_orders_numbered') }}

),

activity as (

    select
        first_order_month as cohort_month,
        date_diff('month', first_order_month, date_trunc('month', ordered_at)) as months_since_first,
        count(distinct customer_id) as active_customers,
        count(*) as orders
    from numbered
    group by 1, 2

),

sizes as (

    select cohort_month, active_customers as cohort_size
    from activity
    where months_since_first = 0

)

select
    activity.cohort_month,
    strftime(activity.cohort_month, '%Y-%m') as cohort,
    activity.months_since_first,
    sizes.cohort_size,
    activity.active_customers,
    activity.orders,
    round(100.0 * activity.active_customers / sizes.cohort_size, 1) as retention_pct
from activity
join sizes using (cohort_month)
