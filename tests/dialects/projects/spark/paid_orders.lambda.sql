select status, orders, paid from {{ ref('orders_per_day') }}
where status = CAST($status /* duet.param {"name": "status", "type": "STRING"} */ AS STRING)
