select
    c.customer_id,
    c.email,
    c.signed_up_on,
    year(c.signed_up_on) as signup_year,
    extract(month from c.birth_date) as birth_month
from {{ ref('stg_customers') }} c
where c.is_marketing_allowed
    and not exists (
        select 1
        from {{ ref('stg_orders') }} o
        where o.customer_id = c.customer_id
            and o.status <> 'cancelled'
    )
