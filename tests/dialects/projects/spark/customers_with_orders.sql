with totals as (
    select customer, sum(total) as total, avg(weight_each) as weight_each
    from {{ ref('stg_orders') }}
    group by customer
)
select c.id, c.name, add_months(c.since, 1) as renewed, coalesce(t.total, 0) as total, t.weight_each
from {{ source('customers') }} as c
left join totals as t on t.customer = c.id
