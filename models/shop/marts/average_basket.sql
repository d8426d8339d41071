with

purchases as (

    select * from {{ ref('stg_shop__purchases') }}

),

final as (

    select
        count(*) as purchases,
        avg(items) as items_per_purchase,
        avg(amount) as amount_per_purchase,
        sum(amount) / sum(items) as amount_per_item
    from purchases

)

select * from final
