with

customers as (

    select * from {{ ref('stg_customers') }}

),

orders as (

    select * from {{ ref('orders') }}

),

lifetime as (

    select
        customer_id,
        count(*) as lifetime_orders,
        count(*) filter (where payment_state in ('paid', 'refunded')) as paid_orders,
        sum(order_amount) as lifetime_amount,
        sum(order_amount) / count(order_amount) as average_order_amount,
        median(order_amount::double) as median_order_amount,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at,
        arg_max(order_id, (ordered_at, order_id)) as last_order_id,
        count(distinct order_month) as active_months
    from orders
    where status <> 'cancelled'
    group by customer_id

),

final as (

    select
        customers.customer_id,
        customers.full_name,
        customers.email_domain,
        customers.country_code,
        customers.signup_month,
        coalesce(lifetime.lifetime_orders, 0) as lifetime_orders,
        coalesce(lifetime.paid_orders, 0) as paid_orders,
        coalesce(lifetime.lifetime_amount, 0) as lifetime_amount,
        round(lifetime.average_order_amount, 2) as average_order_amount,
        lifetime.median_order_amount,
        lifetime.first_ordered_at,
        lifetime.last_ordered_at,
        lifetime.last_order_id,
        date_diff('day', customers.signed_up_at, lifetime.first_ordered_at) as days_to_first_order,
        date_diff('month', lifetime.first_ordered_at, lifetime.last_ordered_at) + 1 as tenure_months,
        case
            when lifetime.lifetime_orders is null then 'prospect'
            when lifetime.lifetime_orders = 1 then 'new'
            when lifetime.lifetime_orders <= 4 then 'returning'
            else 'loyal'
        end as customer_type
    from customers
    left join lifetime using (customer_id)

)

select * from final
