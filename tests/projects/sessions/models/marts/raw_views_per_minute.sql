select
    date_trunc('minute', viewed_at) as minute,
    count(*) as hits,
    count(distinct page_view_id) as page_views,
    count(distinct visitor_id) as visitors
from {{ source('web', 'page_views') }}
group by 1
