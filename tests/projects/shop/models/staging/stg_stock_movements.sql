select
    movement_id,
    sku,
    kind,
    moved_at,
    units * case kind when 'in' then 1 when 'out' then -1 when 'return' then 1 else 0 end as signed_units
from {{ source('store', 'stock_movements') }}
