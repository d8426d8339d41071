select
    totals.customer,
    people.country,
    totals.revenue,
    rank() over (order by totals.revenue desc nulls last) as place
from {{ ref('totals') }} as totals
left join {{ source('shop', 'people') }} as people on totals.customer = people.name
