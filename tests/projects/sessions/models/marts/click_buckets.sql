select
    clicked_bucket,
    count(*) as clicks,
    count(distinct visitor_id) as visitors,
    bool_and(page_view_id is not null) as all_on_known_pages,
    min(x) as leftmost,
    max(y) as lowest
from {{ ref('stg_web__clicks') }}
group by clicked_bucket
