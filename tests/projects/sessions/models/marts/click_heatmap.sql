select
    element,
    component,
    column_band,
    count(*) as clicks,
    avg(distance) as average_distance,
    min(clicked_at) as first_clicked_at,
    sum(count(*)) over (partition by element) as element_clicks,
    rank() over (partition by element order by count(*) desc) as band_rank
from {{ ref('stg_web__clicks') }}
group by element, component, column_band
