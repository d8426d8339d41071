with ordered as (

    select
        path,
        lead(path) over (partition by session_id order by view_number) as next_path,
        date_diff('millisecond', viewed_at, next_viewed_at) as dwell_ms
    from {{ ref('page_views_sessionized') }}

)

select
    path,
    coalesce(next_path, '(exit)') as next_path,
    count(*) as transitions,
    avg(dwell_ms) / 1000 as average_dwell_seconds,
    count(*) / sum(count(*)) over (partition by path) as probability
from ordered
group by path, next_path
qualify row_number() over (partition by path order by count(*) desc, next_path) <= 5
