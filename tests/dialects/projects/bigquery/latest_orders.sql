select customer, order_id, amount, round(amount, 1) as about, ordered_at
from {{ ref('stg_orders') }}
where true
qualify row_number() over (partition by customer order by ordered_at desc, order_id desc) = 1
