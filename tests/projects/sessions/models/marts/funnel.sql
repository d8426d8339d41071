with

steps as (

    select
        visitor_id,
        min(viewed_at) filter (where path = '/') as saw_home_at,
        min(viewed_at) filter (where path like '/product/%') as saw_product_at,
        min(viewed_at) filter (where path = '/cart') as saw_cart_at,
        min(viewed_at) filter (where path in ('/checkout', '/checkout/')) as saw_checkout_at
    from {{ ref('stg_web__page_views') }}
    group by visitor_id

),

bought as (

    select visitor_id, min(converted_at) as bought_at
    from {{ ref('stg_web__conversions') }}
    where goal = 'purchase'
    group by visitor_id

),

reached as (

    select
        steps.visitor_id,
        saw_product_at is not null as reached_product,
        saw_product_at is not null and saw_cart_at > saw_product_at as reached_cart,
        saw_cart_at > saw_product_at and saw_checkout_at > saw_cart_at as reached_checkout,
        saw_checkout_at > saw_cart_at and bought_at >= saw_checkout_at as reached_purchase
    from steps
    left join bought using (visitor_id)

)

select 1 as step, 'visit' as name, count(*) as visitors from reached
union all
select 2, 'product', count(*) from reached where reached_product
union all
select 3, 'cart', count(*) from reached where reached_cart
union all
select 4, 'checkout', count(*) from reached where reached_checkout
union all
select 5, 'purchase', count(*) from reached where reached_purchase
