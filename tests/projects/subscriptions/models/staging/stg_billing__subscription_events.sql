select
    event_id,
    subscription_id,
    event_type,
    plan_id,
    coalesce(seats, 1) as seats,
    mrr_cents,
    mrr_cents / 100 as mrr,
    occurred_at,
    date_trunc('month', occurred_at)::date as occurred_month
from {{ source('billing', 'subscription_events') }}
where event_type in ('created', 'upgraded', 'downgraded', 'renewed', 'cancelled', 'reactivated')
