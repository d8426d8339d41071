select
    conversion_id,
    visitor_id,
    goal,
    coalesce(revenue, 0) as revenue,
    converted_at,
    converted_at::date as converted_on
from {{ source('web', 'conversions') }}
where goal <> ''
