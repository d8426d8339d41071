select
    * exclude (is_deleted, changed_at),
    status = 'trialing' as is_trial,
    cancelled_at is null and status in ('active', 'past_due') as is_active,
    date_trunc('month', started_at)::date as started_month,
    date_trunc('month', cancelled_at)::date as cancelled_month,
    last_day(started_at::date) as first_billing_day
from {{ source('billing', 'subscriptions') }}
