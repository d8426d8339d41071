select
    id as order_id,
    customer,
    if(status = 'PAID', 1, 0) as is_paid,
    nvl(status, 'none') as status,
    amount,
    quantity,
    quantity div 2 as pairs,
    amount * quantity as total,
    try_divide(weight, quantity) as weight_each,
    ordered_at,
    to_date(ordered_at) as ordered_on
from {{ source('orders') }}
where amount is not null
