with revenue as (

    select
        coalesce(c.country_code, '??') as country_code,
        o.order_month,
        sum(o.order_amount) as revenue,
        count(*) as orders
    from {{ ref('orders') }} o
    left join {{ ref('stg_customers') }} c on o.customer_id = c.customer_id
    group by 1, 2

)

select country_code, order_month, revenue, orders, 'month' as grain
from revenue
union all
select country_code, null, sum(revenue), sum(orders), 'total'
from revenue
group by country_code
