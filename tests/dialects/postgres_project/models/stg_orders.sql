select
    id as order_id,
    customer,
    lower(status collate "C") as status,
    amount,
    quantity / 2 as pairs,
    (amount / 2::double precision)::integer as half,
    ordered_at::date + 1 as due_on,
    extract(dow from ordered_at) as weekday,
    concat(customer, '-', quantity) as label
from {{ source('app', 'orders') }}
where status is distinct from 'test'
