with

events as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

daily as (

    select
        happened_on,
        country,
        count(*) as events,
        count(distinct user_id) as users,
        sum(amount_usd) as amount_usd,
        sum(case when score_band = 'high' then 1 else 0 end) as high_scores
    from events
    where quantity > [[ least ]]
    group by happened_on, country

),

final as (

    select
        happened_on,
        country,
        events,
        users,
        amount_usd,
        high_scores,
        amount_usd / nullif(events, 0) as usd_per_event
    from daily

)

select * from final
