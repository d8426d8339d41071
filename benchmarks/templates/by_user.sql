with

events as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

final as (

    select
        user_id,
        count(*) as events,
        count(distinct session_id) as sessions,
        sum(quantity) as quantity,
        sum(amount_usd) as amount_usd,
        max(amount_usd) filter (where is_large) as largest_usd,
        count(*) filter (where kind = '[[ kind ]]') as [[ kind ]]_events,
        min(happened_at) as first_at,
        max(happened_at) as last_at
    from events
    group by user_id

)

select * from final
