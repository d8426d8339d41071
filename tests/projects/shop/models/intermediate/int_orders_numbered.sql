with orders as (

    select * from {{ ref('stg_orders') }}
    where status not in ('cancelled', 'unknown')

)

select
    order_id,
    customer_id,
    ordered_at,
    ordered_on,
    row_number() over customer_orders as order_number,
    lag(ordered_at) over customer_orders as previous_ordered_at,
    date_diff('day', lag(ordered_at) over customer_orders, ordered_at) as days_since_previous,
    lead(ordered_on) over customer_orders as next_ordered_on,
    first_value(order_month) over customer_orders as first_order_month
from orders
where customer_id is not null
window customer_orders as (partition by customer_id order by ordered_at, order_id)
