with

days as (

    select * from {{ ref('purchases_per_day') }}

),

final as (

    select
        purchased_on,
        revenue,
        sum(revenue) over (order by purchased_on) as revenue_to_date
    from days

)

select * from final
