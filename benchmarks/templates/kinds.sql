with

events as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

counted as (

    select
        country,
        kind,
        count(*) as events,
        sum(quantity) as quantity
    from events
    group by country, kind

),

final as (

    select
        country,
        kind,
        events,
        quantity,
        rank() over (partition by country order by events desc nulls last) as place,
        sum(events) over (partition by country) as events_of_country
    from counted

)

select * from final
