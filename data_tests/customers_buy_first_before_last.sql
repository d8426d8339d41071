-- No customer's first purchase comes after the last one.
select
    customer_id,
    first_purchase_on,
    last_purchase_on
from {{ ref('customers') }}
where first_purchase_on > last_purchase_on
