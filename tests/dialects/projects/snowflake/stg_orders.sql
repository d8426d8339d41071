SELECT
    id AS order_id,
    customer,
    IFF(status = 'PAID', 1, 0) AS is_paid,
    NVL(status, 'none') AS status,
    amount,
    ZEROIFNULL(quantity) AS quantity,
    amount * quantity AS total,
    weight / NULLIF(quantity, 0) AS weight_each,
    ordered_at,
    ordered_at::DATE AS ordered_on,
    DATEDIFF('day', ordered_at, '2024-06-01'::DATE) AS age
FROM {{ source('orders') }}
WHERE amount IS NOT NULL
