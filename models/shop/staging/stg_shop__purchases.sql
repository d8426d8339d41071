with

source as (

    select * from {{ source('shop', 'purchases') }}

),

final as (

    select
        purchase_id,
        customer_id,
        purchased_on,
        items,
        amount
    from source

)

select * from final
