with

views as (

    select * from {{ ref('page_views_sessionized') }}

)

select
    session_id,
    visitor_id,
    session_number,
    max(user_id) as user_id,
    min(viewed_at) as started_at,
    max(viewed_at) as ended_at,
    date_diff('second', min(viewed_at), max(viewed_at)) as duration_seconds,
    count(*) as page_views,
    count(distinct path) as distinct_pages,
    count(*) = 1 as is_bounce,
    arg_min(path, (viewed_at, page_view_id)) as landing_page,
    arg_max(path, (viewed_at, page_view_id)) as exit_page,
    first(channel order by viewed_at, page_view_id) as channel,
    first(utm_source order by viewed_at, page_view_id) as utm_source,
    first(utm_campaign order by viewed_at, page_view_id) as utm_campaign,
    first(device order by viewed_at, page_view_id) as device,
    string_agg(path, ' > ' order by viewed_at, page_view_id) as page_path,
    avg(load_ms) as average_load_ms
from views
group by session_id, visitor_id, session_number
