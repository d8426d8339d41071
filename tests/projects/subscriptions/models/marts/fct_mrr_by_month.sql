select
    month_start,
    count(distinct subscription_id) as paying_subscriptions,
    sum(seats) as seats,
    sum(mrr_cents) / 100 as mrr,
    (sum(mrr_cents) / 100)::decimal(18, 2) as mrr_amount,
    avg(mrr_cents) / 100 as average_mrr
from {{ ref('int_subscription_months') }}
group by month_start
order by month_start
