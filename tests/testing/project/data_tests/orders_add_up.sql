select sum(totals.orders) as counted
from {{ ref('totals') }} as totals
having sum(totals.orders) <> (select count(*) from {{ ref('stg_orders') }})
