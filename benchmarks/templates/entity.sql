with

source as (

    select * from {{ source('[[ system ]]', '[[ table ]]') }}

),

final as (

    select
        user_id,
        trim(name) as name,
        lower(email) as email,
        upper(country) as country,
        status,
        coalesce(status, 'none') = 'active' as is_active,
        signed_up_at,
        cast(signed_up_at as date) as signed_up_on
    from source

)

select * from final
