with

first_days as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

second_days as (

    select * from {{ ref('[[ reads[1] ]]') }}

),

joined as (

    select
        first_days.happened_on,
        first_days.country,
        first_days.events + coalesce(second_days.events, 0) as events,
        coalesce(first_days.amount_usd, 0) + coalesce(second_days.amount_usd, 0) as amount_usd
    from first_days
    left join second_days
        on second_days.happened_on = first_days.happened_on
        and second_days.country = first_days.country

),

final as (

    select
        happened_on,
        country,
        events,
        amount_usd,
        sum(amount_usd) over (
            partition by country order by happened_on rows between [[ days ]] preceding and current row
        ) as amount_usd_of_days,
        lag(events) over (partition by country order by happened_on) as events_before,
        events - lag(events) over (partition by country order by happened_on) as events_more
    from joined

)

select * from final
