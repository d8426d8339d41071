select
    movement_id,
    sku,
    moved_at,
    signed_units,
    sum(signed_units) over (partition by sku order by moved_at, movement_id) as running_units,
    min(moved_at) over (partition by sku) as first_moved_at,
    moved_at - lag(moved_at) over (partition by sku order by moved_at, movement_id) > interval 1 day as was_idle
from {{ ref('stg_stock_movements') }}
