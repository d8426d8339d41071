select
    order_id || '-' || line_number as order_item_id,
    order_id,
    line_number,
    sku,
    quantity,
    unit_price,
    coalesce(discount_rate, 0) as discount_rate,
    quantity * unit_price as gross_amount,
    round(quantity * unit_price * coalesce(discount_rate, 0), 2) as discount_amount,
    round(quantity * unit_price * (1 - coalesce(discount_rate, 0)), 2) as net_amount
from {{ source('store', 'order_items') }}
where quantity > 0
