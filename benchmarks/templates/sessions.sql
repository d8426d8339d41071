with

events as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

numbered as (

    select
        user_id,
        session_id,
        happened_at,
        amount_usd,
        lag(happened_at) over (partition by user_id order by happened_at, event_id) as previous_at,
        row_number() over (partition by user_id, session_id order by happened_at, event_id) as place
    from events

),

flagged as (

    select
        user_id,
        session_id,
        happened_at,
        amount_usd,
        place,
        previous_at is null or happened_at > previous_at + interval [[ minutes ]] minute as is_start
    from numbered

),

final as (

    select
        user_id,
        session_id,
        min(happened_at) as started_at,
        max(happened_at) as ended_at,
        max(place) as events,
        count(*) filter (where is_start) as starts,
        sum(amount_usd) as amount_usd
    from flagged
    group by user_id, session_id

)

select * from final
