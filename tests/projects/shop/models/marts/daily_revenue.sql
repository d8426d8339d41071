with

by_day as (

    select
        ordered_on,
        count(*) as orders,
        count(distinct customer_id) as customers,
        sum(order_amount) as revenue,
        sum(refunded_amount) as refunded
    from {{ ref('orders') }}
    where status != 'cancelled'
    group by ordered_on

)

select
    ordered_on,
    orders,
    customers,
    revenue,
    refunded,
    avg(revenue) over (order by ordered_on rows between 6 preceding and current row) as revenue_7_day_average,
    sum(revenue) over (order by ordered_on range between interval 6 days preceding and current row) as revenue_7_days,
    sum(revenue) over (partition by date_trunc('month', ordered_on) order by ordered_on) as revenue_month_to_date,
    sum(revenue) over (order by ordered_on rows unbounded preceding) as revenue_to_date,
    revenue - lag(revenue, 7) over (order by ordered_on) as change_to_week_before,
    round(100 * (revenue / nullif(lag(revenue) over (order by ordered_on), 0) - 1), 2) as change_pct
from by_day
