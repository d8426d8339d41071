select
    date_trunc(ordered_on, month) as month,
    status,
    count(*) as orders,
    sum(quantity) as quantity,
    countif(is_paid = 1) as paid,
    countif(heavy) as heavy,
    sum(quantity) / nullif(count(quantity), 0) as quantity_each,
    max(ordered_at) as last_at
from {{ ref('stg_orders') }}
group by 1, 2
