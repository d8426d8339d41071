select
    customer_id,
    purchases,
    items,
    revenue,
    first_purchase_on,
    last_purchase_on
from {{ ref('customers') }}
where customer_id = {{ param('customer_id', 'varchar', description='The customer, five digits.') }}
