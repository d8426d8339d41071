select
    customer,
    count(*) as orders,
    sum(amount) as revenue,
    sum(pairs) as pairs,
    sum(amount) filter (where status = 'paid') as paid,
    string_agg(label, ';' order by order_id) as labels,
    max(due_on) - min(due_on) as days
from {{ ref('stg_orders') }}
group by customer
