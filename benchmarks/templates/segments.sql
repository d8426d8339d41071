with

profiles as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

sized as (

    select
        segment,
        country,
        count(*) as users,
        sum(events) as events,
        sum(amount_usd) as amount_usd,
        avg(active_days) as active_days
    from profiles
    where last_kind is distinct from '[[ kind ]]'
    group by segment, country

),

final as (

    select
        segment,
        country,
        users,
        events,
        amount_usd,
        active_days,
        dense_rank() over (partition by segment order by users desc nulls last, country) as place
    from sized

)

select * from final
