select
    path,
    device,
    count(load_ms) as measured,
    avg(load_ms) as average_load_ms,
    quantile_cont(load_ms, 0.95) as p95_load_ms,
    max(load_ms) as max_load_ms,
    count(*) filter (where load_ms > 3000) as slow_views,
    arg_max(url, (load_ms, page_view_id)) as slowest_url
from {{ ref('stg_web__page_views') }}
group by path, device
