with totals as (
    select customer, sum(total) as total, avg(weight_each) as weight_each
    from {{ ref('stg_orders') }}
    group by customer
)
select c.id, c.name, date_add(c.since, interval 1 month) as renewed, ifnull(t.total, 0) as total, t.weight_each
from {{ source('customers') }} as c
left join totals as t on t.customer = c.id
