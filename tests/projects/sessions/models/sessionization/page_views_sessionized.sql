with

page_views as (

    select * from {{ ref('stg_web__page_views') }}
    where not coalesce(is_bot, false)

),

with_gaps as (

    select
        *,
        lag(viewed_at) over (partition by visitor_id order by viewed_at, page_view_id) as previous_viewed_at,
        date_diff(
            'minute',
            lag(viewed_at) over (partition by visitor_id order by viewed_at, page_view_id),
            viewed_at
        ) as minutes_idle
    from page_views

),

flagged as (

    select
        *,
        case
            when previous_viewed_at is null then 1
            when viewed_at - previous_viewed_at > interval '{{ var("session_gap_minutes") }} minutes' then 1
            when utm_campaign is not null and utm_source is not null then 1
            else 0
        end as is_new_session
    from with_gaps

),

numbered as (

    select
        *,
        sum(is_new_session) over (
            partition by visitor_id
            order by viewed_at, page_view_id
            rows between unbounded preceding and current row
        ) as session_number
    from flagged

)

select
    page_view_id,
    visitor_id,
    user_id,
    session_number,
    md5(visitor_id || '|' || session_number::varchar) as session_id,
    row_number() over (
        partition by visitor_id, session_number order by viewed_at, page_view_id
    ) as view_number,
    viewed_at,
    minutes_idle,
    host,
    path,
    channel,
    utm_source,
    utm_medium,
    utm_campaign,
    device,
    language,
    experiment,
    load_ms,
    lead(viewed_at) over (partition by visitor_id, session_number order by viewed_at, page_view_id) as next_viewed_at
from numbered
