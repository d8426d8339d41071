with

first_events as (

    select user_id, country, happened_on, amount_usd, quantity from {{ ref('[[ reads[0] ]]') }}

),

second_events as (

    select user_id, country, happened_on, amount_usd, quantity from {{ ref('[[ reads[1] ]]') }}

),

both_events as (

    select * from first_events
    union all
    select * from second_events

),

final as (

    select
        user_id,
        happened_on,
        count(*) as events,
        sum(amount_usd) as amount_usd,
        max(quantity) as most_at_once
    from both_events
    group by user_id, happened_on

)

select * from final
