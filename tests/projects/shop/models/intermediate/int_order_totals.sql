select
    order_id,
    count(*) as line_count,
    count(distinct sku) as distinct_products,
    sum(quantity) as units,
    sum(gross_amount) as gross_amount,
    sum(discount_amount) as discount_amount,
    sum(net_amount) as net_amount,
    max(unit_price) as dearest_unit_price,
    arg_max(sku, (unit_price, sku)) as dearest_sku,
    string_agg(distinct sku, ', ' order by sku) as skus
from {{ ref('stg_order_items') }}
group by order_id
