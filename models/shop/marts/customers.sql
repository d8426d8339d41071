with

purchases as (

    select * from {{ ref('stg_shop__purchases') }}

),

final as (

    select
        customer_id,
        count(*) as purchases,
        sum(items) as items,
        sum(amount) as revenue,
        min(purchased_on) as first_purchase_on,
        max(purchased_on) as last_purchase_on
    from purchases
    group by customer_id

)

select * from final
