with

days as (

    select distinct viewed_at::date as day
    from {{ ref('stg_web__page_views') }}

),

visits as (

    select distinct visitor_id, viewed_at::date as day
    from {{ ref('stg_web__page_views') }}

)

select
    days.day,
    count(distinct visits.visitor_id) as visitors_7_days,
    count(distinct visits.visitor_id) filter (where visits.day = days.day) as visitors_1_day,
    count(distinct visits.visitor_id) filter (where visits.day = days.day)
        / count(distinct visits.visitor_id) as stickiness
from days
left join visits
    on visits.day between days.day - 6 and days.day
group by days.day
