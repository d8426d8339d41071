with

users as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

latest as (

    select * from {{ ref('[[ reads[1] ]]') }}

),

entities as (

    select * from {{ ref('[[ reads[2] ]]') }}

),

joined as (

    select
        users.user_id,
        users.events,
        users.sessions,
        users.amount_usd,
        users.first_at,
        users.last_at,
        latest.last_kind,
        latest.last_country,
        entities.name,
        entities.cohort_month,
        coalesce(entities.country, latest.last_country, 'unknown') as country
    from users
    left join latest on latest.user_id = users.user_id
    left join entities on entities.user_id = users.user_id

),

final as (

    select
        user_id,
        name,
        country,
        cohort_month,
        events,
        sessions,
        amount_usd,
        first_at,
        last_at,
        last_kind,
        date_diff('day', first_at, last_at) as active_days,
        case
            when amount_usd >= [[ high ]] then 'whale'
            when amount_usd >= 100 then 'regular'
            when amount_usd > 0 then 'small'
            else 'none'
        end as segment
    from joined

)

select * from final
