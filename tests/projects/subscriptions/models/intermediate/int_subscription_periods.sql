with events as (

    select * from {{ ref('int_events_deduplicated') }}

)

select
    subscription_id,
    event_id,
    event_type,
    plan_id,
    seats,
    case when event_type = 'cancelled' then 0 else mrr_cents end as mrr_cents,
    occurred_at as valid_from,
    lead(occurred_at) over (partition by subscription_id order by occurred_at, event_id) as valid_to,
    lag(event_type) over (partition by subscription_id order by occurred_at, event_id) as previous_event_type,
    row_number() over (partition by subscription_id order by occurred_at, event_id) as period_number
from events
where subscription_id is not null
