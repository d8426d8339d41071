select
    step,
    name,
    visitors,
    visitors / first_value(visitors) over (order by step) as share_of_all,
    visitors / nullif(lag(visitors) over (order by step), 0) as share_of_previous,
    lag(visitors, 1, 0) over (order by step) - visitors as dropped
from {{ ref('funnel') }}
