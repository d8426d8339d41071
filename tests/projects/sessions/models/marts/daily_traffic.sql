with by_day as (

    select
        started_at::date as day,
        count(*) as sessions,
        count(distinct visitor_id) as visitors,
        sum(page_views) as page_views,
        avg(is_bounce::integer) as bounce_rate,
        median(duration_seconds) as median_duration_seconds,
        sum(case when channel = 'Direct' then 1 else 0 end) / count(*) as direct_share
    from {{ ref('sessions') }}
    group by 1

)

select
    *,
    dayname(day) as weekday,
    isodow(day) > 5 as is_weekend,
    avg(sessions) over (order by day rows between 6 preceding and current row) as sessions_7_day_average,
    sessions - lag(sessions) over (order by day) as sessions_change,
    sum(page_views) over (order by day range between interval 27 days preceding and current row) as page_views_28_days
from by_day
