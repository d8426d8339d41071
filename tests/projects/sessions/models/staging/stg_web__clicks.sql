select
    click_id,
    visitor_id,
    page_view_id,
    lower(element) as element,
    split_part(element, '.', 1) as component,
    x,
    y,
    sqrt(power(x, 2) + power(y, 2)) as distance,
    floor(x / 100)::integer as column_band,
    clicked_at,
    time_bucket(interval 5 minutes, clicked_at) as clicked_bucket
from {{ source('web', 'clicks') }}
where visitor_id is not null
