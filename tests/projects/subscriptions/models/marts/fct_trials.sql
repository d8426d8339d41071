select
    started_month,
    count(*) as trials,
    count(*) filter (where not is_trial and (cancelled_at is null or cancelled_at > trial_ends_on)) as converted,
    round(avg(case when not is_trial and cancelled_at is null then 1 else 0 end), 3) as conversion_rate,
    avg(date_diff('day', started_at, trial_ends_on::timestamp)) as average_trial_days
from {{ ref('stg_billing__subscriptions') }}
where trial_ends_on is not null
group by started_month
