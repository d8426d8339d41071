WITH totals AS (
    SELECT customer, SUM(total) AS total, AVG(weight_each) AS weight_each
    FROM {{ ref('stg_orders') }}
    GROUP BY customer
)
SELECT c.id, c.name, DATEADD(month, 1, c.since) AS renewed, NVL(t.total, 0) AS total, t.weight_each
FROM {{ source('customers') }} AS c
LEFT JOIN totals AS t ON t.customer = c.id
