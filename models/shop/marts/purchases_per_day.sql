with

purchases as (

    select * from {{ ref('stg_shop__purchases') }}

),

final as (

    select
        purchased_on,
        count(*) as purchases,
        count(distinct customer_id) as customers,
        sum(items) as items,
        sum(amount) as revenue
    from purchases
    group by purchased_on

)

select * from final
