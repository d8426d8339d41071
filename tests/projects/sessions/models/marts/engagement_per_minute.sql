select
    date_trunc('minute', viewed_at) as minute,
    host,
    count(*) as page_views,
    count(distinct visitor_id) as visitors,
    count(distinct session_id) as sessions,
    max(load_ms) as slowest_load_ms,
    sum(date_diff('millisecond', viewed_at, next_viewed_at)) / 1000 as engaged_seconds
from {{ ref('page_views_sessionized') }}
group by 1, 2
