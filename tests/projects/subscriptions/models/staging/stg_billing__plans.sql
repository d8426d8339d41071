select
    plan_id,
    plan_name,
    tier,
    price,
    billing_interval,
    round({{ monthly_amount('price', 'billing_interval') }}, 2) as monthly_price,
    (features ->> '$.max_projects')::integer as max_projects,
    features ->> '$.support' as support_level,
    coalesce((features ->> 'sso')::boolean, false) as has_sso
from {{ source('billing', 'plans') }}
