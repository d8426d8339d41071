select
    id as order_id,
    customer,
    lower(status collate "C") as status,
    amount,
    quantity,
    quantity / 2 as pairs,
    amount * quantity as Total,
    weight / nullif(quantity, 0) as weight_each,
    ordered_at,
    ordered_at::date as ordered_on
from {{ source('orders') }}
where amount is not null
