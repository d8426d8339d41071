select customer, order_id, amount, round(amount, 1) as about, ordered_at
from (
    select *, row_number() over (partition by customer order by ordered_at desc, order_id desc) as newest
    from {{ ref('stg_orders') }}
) as ranked
where newest = 1
