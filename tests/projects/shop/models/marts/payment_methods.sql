select
    payment_method,
    date_trunc('week', paid_at) as paid_week,
    count(*) as attempts,
    count(*) filter (where is_successful) as successes,
    round(count(*) filter (where is_successful) / count(*), 4) as success_rate,
    sum(amount) filter (where is_successful) as amount,
    avg(amount) filter (where is_successful) as average_amount,
    quantile_cont(amount_cents, 0.9) as p90_amount_cents,
    stddev(amount_cents) as amount_cents_stddev
from {{ ref('stg_payments') }}
group by payment_method, paid_week
