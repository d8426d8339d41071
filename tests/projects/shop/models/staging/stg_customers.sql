with

source as (

    select * from {{ source('store', 'customers') }}

),

renamed as (

    select
        customer_id,
        lower(trim(email)) as email,
        nullif(trim(full_name), '') as full_name,
        split_part(full_name, ' ', 1) as first_name,
        split_part(lower(trim(email)), '@', 2) as email_domain,
        coalesce(upper(country), 'ZZ') as country_code,
        birth_date,
        coalesce(marketing_opt_in, false) as is_marketing_allowed,
        signed_up_at,
        signed_up_at::date as signed_up_on,
        date_trunc('month', signed_up_at)::date as signup_month
    from source

)

select * from renamed
