select
    from_plan.plan_name as from_plan,
    to_plan.plan_name as to_plan,
    count(*) as switches,
    count(*) filter (where to_plan.tier > from_plan.tier) as upgrades,
    sum(switched.change_cents) as change_cents
from (
    select
        plan_id,
        lag(plan_id) over (partition by subscription_id order by valid_from, event_id) as previous_plan_id,
        mrr_cents - lag(mrr_cents) over (partition by subscription_id order by valid_from, event_id) as change_cents
    from {{ ref('int_subscription_periods') }}
) as switched
join {{ ref('stg_billing__plans') }} as from_plan on from_plan.plan_id = switched.previous_plan_id
join {{ ref('stg_billing__plans') }} as to_plan on to_plan.plan_id = switched.plan_id
where switched.plan_id is distinct from switched.previous_plan_id
group by all
