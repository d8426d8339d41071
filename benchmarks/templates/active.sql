with

entities as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

final as (

    select
        user_id,
        name,
        country,
        signed_up_on,
        date_trunc('month', signed_up_at) as cohort_month
    from entities
    where is_active

)

select * from final
