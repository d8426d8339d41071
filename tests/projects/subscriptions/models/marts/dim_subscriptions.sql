select
    s.subscription_id,
    s.account_id,
    a.company_name,
    p.plan_name,
    p.support_level,
    s.status,
    s.seats * p.monthly_price as monthly_value,
    s.started_at,
    s.cancelled_at,
    date_diff('day', s.started_at, s.cancelled_at) as days_subscribed,
    date_sub('day', s.started_at, s.cancelled_at) as full_days_subscribed,
    s.trial_ends_on >= s.cancelled_at::date as cancelled_in_trial,
    coalesce(p.has_sso, false) and coalesce(s.seats, 0) >= 10 as is_enterprise_like
from {{ ref('stg_billing__subscriptions') }} s
left join {{ ref('stg_billing__plans') }} p using (plan_id)
left join {{ ref('stg_billing__accounts') }} a using (account_id)
