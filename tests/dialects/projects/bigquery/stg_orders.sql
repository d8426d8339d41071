select
    id as order_id,
    customer,
    if(status = 'PAID', 1, 0) as is_paid,
    ifnull(status, 'none') as status,
    amount,
    quantity,
    amount * quantity as total,
    safe_divide(weight, quantity) as weight_each,
    weight > 1.0 as heavy,
    ordered_at,
    date(ordered_at) as ordered_on
from {{ source('orders') }}
where amount is not null
