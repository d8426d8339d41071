-- A click belongs to the visitor's last session that began before it.
select
    clicks.click_id,
    clicks.visitor_id,
    clicks.element,
    clicks.clicked_at,
    sessions.session_id,
    date_diff('second', sessions.started_at, clicks.clicked_at) as seconds_into_session
from {{ ref('stg_web__clicks') }} as clicks
asof left join {{ ref('sessions') }} as sessions
    on clicks.visitor_id = sessions.visitor_id
    and clicks.clicked_at >= sessions.started_at
