select
    date_trunc('month', ordered_on)::date as month,
    status,
    count(*) as orders,
    sum(quantity) as quantity,
    sum(quantity) / nullif(count(quantity), 0) as quantity_each,
    sum(total) filter (where status = 'paid') as paid,
    max(ordered_at) as last_at
from {{ ref('stg_orders') }}
group by 1, 2
