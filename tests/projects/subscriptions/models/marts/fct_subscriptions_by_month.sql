select
    m.month_start,
    count(s.subscription_id) as started,
    count(c.subscription_id) as cancelled
from (select distinct started_month as month_start from {{ ref('stg_billing__subscriptions') }}) m
left join {{ ref('stg_billing__subscriptions') }} s on s.started_month = m.month_start
left join {{ ref('stg_billing__subscriptions') }} c
    on c.cancelled_month = m.month_start and c.subscription_id = s.subscription_id
group by m.month_start
