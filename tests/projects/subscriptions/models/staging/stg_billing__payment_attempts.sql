select
    attempt_id,
    invoice_id,
    outcome,
    coalesce(failure_code, case when outcome = 'failed' then 'unknown' end) as failure_code,
    amount,
    attempted_at,
    strftime(attempted_at, '%A') as attempted_weekday,
    extract('hour' from attempted_at) as attempted_hour
from {{ source('billing', 'payment_attempts') }}
