with

days as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

ranked as (

    select
        happened_on,
        country,
        events,
        amount_usd_of_days,
        row_number() over (partition by happened_on order by events_more desc nulls last, country) as place
    from days

),

final as (

    select
        happened_on,
        country,
        events,
        amount_usd_of_days,
        place
    from ranked
    where place <= [[ most ]]

)

select * from final
