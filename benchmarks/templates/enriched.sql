with

events as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

entities as (

    select * from {{ ref('[[ reads[1] ]]') }}

),

final as (

    select
        events.event_id,
        events.user_id,
        events.happened_on,
        events.amount_usd,
        events.score_band,
        entities.name,
        entities.cohort_month,
        coalesce(entities.country, events.country) as country,
        date_diff('day', entities.signed_up_on, events.happened_on) as days_since_signup
    from events
    left join entities on entities.user_id = events.user_id

)

select * from final
