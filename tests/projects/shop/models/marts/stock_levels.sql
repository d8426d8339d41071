with movements as (

    select * from {{ ref('stg_stock_movements') }}

),

levels as (

    select
        sku,
        sum(signed_units) as units_on_hand,
        max(moved_at) as last_moved_at,
        max(moved_at) filter (where kind = 'in') as last_delivery_at,
        count_if(kind = 'correction') as corrections
    from movements
    group by sku

)

select
    levels.sku,
    products.product_name,
    products.category,
    levels.units_on_hand,
    levels.units_on_hand * products.unit_cost as stock_value,
    levels.last_moved_at,
    levels.last_delivery_at,
    levels.corrections,
    if(levels.units_on_hand <= 0, 'out of stock', 'in stock') as availability
from levels
left join {{ ref('stg_products') }} as products on levels.sku = products.sku
