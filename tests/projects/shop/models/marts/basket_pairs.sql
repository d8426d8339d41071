with

baskets as (

    select distinct order_id, sku
    from {{ ref('stg_order_items') }}
    where sku is not null

),

basket_count as (

    select count(distinct order_id) as baskets from baskets

),

product_counts as (

    select sku, count(*) as baskets from baskets group by sku

),

pairs as (

    select
        a.sku as sku_a,
        b.sku as sku_b,
        count(*) as together
    from baskets as a
    inner join baskets as b on a.order_id = b.order_id and a.sku < b.sku
    group by a.sku, b.sku
    having count(*) >= 2

)

select
    pairs.sku_a,
    pairs.sku_b,
    pairs.together,
    pairs.together / basket_count.baskets as support,
    pairs.together / counts_a.baskets as confidence,
    (pairs.together * basket_count.baskets) / (counts_a.baskets * counts_b.baskets) as lift
from pairs
cross join basket_count
join product_counts as counts_a on pairs.sku_a = counts_a.sku
join product_counts as counts_b on pairs.sku_b = counts_b.sku
