SELECT
    DATE_TRUNC('month', ordered_on) AS month,
    status,
    COUNT(*) AS orders,
    SUM(quantity) AS quantity,
    COUNT_IF(is_paid = 1) AS paid,
    SUM(total)::FLOAT / NULLIF(SUM(quantity), 0) AS total_each,
    MAX(ordered_at) AS last_at
FROM {{ ref('stg_orders') }}
GROUP BY 1, 2
