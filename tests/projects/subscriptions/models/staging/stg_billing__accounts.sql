with source as (

    select * from {{ source('billing', 'accounts') }}

)

select
    account_id,
    coalesce(nullif(trim(company_name), ''), 'n/a') as company_name,
    lower(industry) as industry,
    upper(left(country, 2)) as country_code,
    employees,
    case
        when employees is null then 'unknown'
        when employees < 10 then '1-9'
        when employees < 100 then '10-99'
        when employees < 1000 then '100-999'
        else '1000+'
    end as company_size,
    regexp_extract(lower(owner_email), '@(.+)$', 1) as owner_domain,
    created_at,
    date_trunc('quarter', created_at) as created_quarter
from source
