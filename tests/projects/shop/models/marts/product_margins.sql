with items as (

    select * from {{ ref('int_order_items_priced') }}

),

sold as (

    select items.*
    from items
    semi join {{ ref('stg_orders') }} as orders
        on items.order_id = orders.order_id and orders.status not in ('cancelled', 'returned')

)

select
    sku,
    max(product_name) as product_name,
    category,
    count(distinct order_id) as orders,
    sum(quantity) as units_sold,
    sum(net_amount) as revenue,
    sum(cost_amount) as cost,
    sum(margin_amount) as margin,
    round(sum(margin_amount) / nullif(sum(net_amount), 0), 4) as margin_rate,
    avg(discount_rate) as average_discount_rate,
    sum(net_amount) / sum(quantity) as revenue_per_unit
from sold
group by sku, category
having sum(quantity) > 0
