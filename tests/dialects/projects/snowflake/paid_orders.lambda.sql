SELECT status, orders, paid FROM {{ ref('orders_per_day') }}
WHERE status = CAST($status /* duet.param {"name": "status", "type": "STRING"} */ AS STRING)
