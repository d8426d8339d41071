select
    customer,
    count(*) as orders,
    sum(amount) as revenue,
    count(*) filter (where amount >= {{ var('dear_from') }}) as dear_orders,
    max(ordered_at) as last_ordered_at
from {{ ref('stg_orders') }}
group by customer
