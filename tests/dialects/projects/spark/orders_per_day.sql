select
    trunc(ordered_on, 'MONTH') as month,
    status,
    count(*) as orders,
    sum(quantity) as quantity,
    count_if(is_paid = 1) as paid,
    sum(quantity) / nullif(count(quantity), 0) as quantity_each,
    max(ordered_at) as last_at
from {{ ref('stg_orders') }}
group by 1, 2
