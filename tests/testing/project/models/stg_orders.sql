select
    order_id,
    trim(customer) as customer,
    amount,
    status,
    ordered_at,
    cast(ordered_at as date) as ordered_on
from {{ source('shop', 'orders') }}
where status is distinct from {{ hidden() }}
