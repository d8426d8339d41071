with

source as (

    select * from {{ source('store', 'products') }}

),

renamed as (

    select
        sku,
        product_name,
        coalesce(nullif(category, ''), 'other') as category,
        unit_cost,
        list_price,
        list_price - unit_cost as list_margin,
        attributes ->> '$.color' as color,
        attributes ->> 'brand' as brand,
        try_cast(attributes ->> '$.weight_g' as integer) as weight_in_grams,
        case
            when list_price < 20 then 'budget'
            when list_price between 20 and 99.99 then 'standard'
            when list_price >= 100 then 'premium'
            else 'unpriced'
        end as price_band
    from source

)

select * from renamed
