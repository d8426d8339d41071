with source as (

    select * from {{ source('store', 'payments') }}

),

renamed as (

    select
        payment_id,
        order_id,
        replace(lower(method), ' ', '_') as payment_method,
        status as payment_status,
        amount_cents,
        {{ cents_to_amount('amount_cents') }} as amount,
        paid_at,
        status in ('captured', 'settled') as is_successful
    from source

)

select * from renamed
