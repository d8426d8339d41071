with

first_segments as (

    select segment, country, users, amount_usd from {{ ref('[[ reads[0] ]]') }}

),

second_segments as (

    select segment, country, users, amount_usd from {{ ref('[[ reads[1] ]]') }}

),

both_segments as (

    select *, '[[ reads[0] ]]' as origin from first_segments
    union all
    select *, '[[ reads[1] ]]' as origin from second_segments

),

final as (

    select
        country,
        count(distinct origin) as origins,
        sum(users) as users,
        sum(amount_usd) as amount_usd,
        max(users) as largest_segment
    from both_segments
    group by country
    having sum(users) > [[ least ]]

)

select * from final
