with

source as (

    select * from {{ source('store', 'orders') }}

),

deduplicated as (

    select *
    from source
    qualify row_number() over (partition by order_id order by sent_at desc nulls last, status desc nulls last) = 1

)

select
    order_id,
    customer_id,
    coalesce(status, 'unknown') as status,
    upper(coalesce(currency, 'eur')) as currency,
    nullif(upper(trim(coupon)), '') as coupon_code,
    {{ cents_to_amount('shipping_cents') }} as shipping_amount,
    ordered_at,
    ordered_at::date as ordered_on,
    date_trunc('month', ordered_at)::date as order_month,
    dayofweek(ordered_at) in (0, 6) as is_weekend
from deduplicated
