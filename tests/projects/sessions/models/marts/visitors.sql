with

views as (

    select
        visitor_id,
        min(viewed_at) as first_seen_at,
        max(viewed_at) as last_seen_at,
        count(*) as page_views,
        max(user_id) as user_id,
        arg_min(channel, (viewed_at, page_view_id)) as first_channel,
        arg_max(device, (viewed_at, page_view_id)) as last_device,
        list(distinct host order by host) as hosts,
        count(distinct viewed_at::date) as active_days
    from {{ ref('stg_web__page_views') }}
    group by visitor_id

),

clicks as (

    select visitor_id, count(*) as clicks, count(distinct element) as elements
    from {{ ref('stg_web__clicks') }}
    group by visitor_id

)

select
    views.*,
    coalesce(clicks.clicks, 0) as clicks,
    coalesce(clicks.elements, 0) as elements,
    exists (
        select 1 from {{ ref('stg_web__conversions') }} as c where c.visitor_id = views.visitor_id
    ) as has_converted,
    (select sum(c.revenue) from {{ ref('stg_web__conversions') }} as c where c.visitor_id = views.visitor_id) as revenue
from views
left join clicks on clicks.visitor_id = views.visitor_id
