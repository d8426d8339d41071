select
    coupon_code,
    max(left(coupon_code, 4)) as coupon_family,
    regexp_extract(coupon_code, '([0-9]+)$', 1) as coupon_digits,
    count(*) as orders,
    count(distinct customer_id) as customers,
    min(ordered_on) as first_used_on,
    max(ordered_on) as last_used_on,
    sum(case when is_weekend then 1 else 0 end) as weekend_orders
from {{ ref('stg_orders') }}
where coupon_code is not null
group by coupon_code
order by orders desc
