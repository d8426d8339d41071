-- One visitor may log in as several users, and one user may have several visitors.
select
    user_id,
    count(distinct visitor_id) as visitors,
    list(distinct visitor_id order by visitor_id) as visitor_ids,
    min(viewed_at) as first_seen_at,
    max(viewed_at) as last_seen_at,
    array_to_string(list(distinct device order by device), '/') as devices
from {{ ref('stg_web__page_views') }}
where user_id is not null
group by user_id
