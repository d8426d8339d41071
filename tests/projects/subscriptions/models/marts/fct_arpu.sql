with revenue as (

    select
        date_trunc('quarter', issued_at) as quarter_start,
        account_id,
        sum(total_amount) as revenue
    from {{ ref('stg_billing__invoices') }}
    group by all

)

select
    revenue.quarter_start,
    accounts.company_size,
    count(*) as accounts,
    sum(revenue.revenue) as revenue,
    round(sum(revenue.revenue) / count(*), 2) as arpu,
    median(revenue.revenue::double) as median_revenue,
    max(revenue.revenue) as largest_revenue,
    max_by(accounts.company_name, (revenue.revenue, accounts.account_id)) as largest_account
from revenue
join {{ ref('stg_billing__accounts') }} as accounts on accounts.account_id = revenue.account_id
group by revenue.quarter_start, accounts.company_size
having count(*) > 1
