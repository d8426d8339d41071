select
    conversions.conversion_id,
    conversions.visitor_id,
    conversions.goal,
    conversions.revenue,
    conversions.converted_at,
    sessions.session_id,
    sessions.session_number
from {{ ref('stg_web__conversions') }} as conversions
left join {{ ref('sessions') }} as sessions
    on conversions.visitor_id = sessions.visitor_id
    and conversions.converted_at between sessions.started_at and sessions.ended_at + interval 30 minutes
qualify row_number() over (
    partition by conversions.conversion_id, conversions.converted_at order by sessions.started_at desc
) = 1
