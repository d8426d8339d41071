with

items as (

    select * from {{ ref('stg_order_items') }}

),

products as (

    select * from {{ ref('stg_products') }}

)

select
    items.*,
    products.product_name,
    coalesce(products.category, 'unknown') as category,
    products.price_band,
    items.quantity * products.unit_cost as cost_amount,
    items.net_amount - items.quantity * products.unit_cost as margin_amount
from items
left join products using (sku)
