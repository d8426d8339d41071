select
    landing_page,
    channel,
    count(*) as sessions,
    count(*) filter (where is_bounce) as bounces,
    round(100.0 * count(*) filter (where is_bounce) / count(*), 2) as bounce_pct,
    avg(page_views) as pages_per_session,
    quantile_cont(duration_seconds, 0.75) as p75_duration_seconds,
    count(distinct visitor_id) as visitors
from {{ ref('sessions') }}
group by landing_page, channel
having count(*) >= 2
