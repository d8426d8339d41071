with

refunds as (

    select refund_reason, order_id, refund_amount, date_trunc('month', refunded_on) as refund_month
    from {{ ref('stg_refunds') }}

),

orders as (

    select order_id, order_month, country_code
    from {{ ref('stg_orders') }}
    left join {{ ref('stg_customers') }} using (customer_id)

)

select
    coalesce(orders.country_code, 'unknown') as country_code,
    refunds.refund_month,
    refunds.refund_reason,
    count(*) as refunds,
    count(distinct refunds.order_id) as refunded_orders,
    sum(refunds.refund_amount) as refunded_amount,
    avg(date_diff('day', orders.order_month, refunds.refund_month)) as average_days
from refunds
left join orders using (order_id)
group by all
