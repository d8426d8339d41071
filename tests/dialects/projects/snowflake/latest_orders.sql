SELECT customer, order_id, amount, ROUND(amount, 1) AS about, ordered_at
FROM {{ ref('stg_orders') }}
QUALIFY ROW_NUMBER() OVER (PARTITION BY customer ORDER BY ordered_at DESC NULLS LAST, order_id DESC) = 1
