select
    conversions.conversion_id,
    conversions.visitor_id,
    conversions.revenue,
    conversions.converted_at,
    sessions.session_id,
    sessions.started_at as touched_at,
    coalesce(sessions.channel, 'Direct') as channel,
    sessions.utm_campaign as campaign,
    row_number() over conversion_touches as touch_number,
    count(*) over (partition by conversions.conversion_id) as touches
from {{ ref('stg_web__conversions') }} as conversions
inner join {{ ref('sessions') }} as sessions
    on sessions.visitor_id = conversions.visitor_id
    and sessions.started_at <= conversions.converted_at
    and sessions.started_at > conversions.converted_at - interval '{{ var("attribution_days") }} days'
window conversion_touches as (partition by conversions.conversion_id order by sessions.started_at, sessions.session_id)
