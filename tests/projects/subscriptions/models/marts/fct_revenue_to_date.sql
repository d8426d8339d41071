select
    issued_on,
    currency,
    sum(total_amount) as invoiced,
    sum(sum(total_amount)) over (partition by currency order by issued_on) as invoiced_to_date,
    sum(sum(total_amount)) over (
        partition by currency, year(issued_on) order by issued_on
        rows between unbounded preceding and current row
    ) as invoiced_year_to_date,
    count(distinct account_id) as accounts
from {{ ref('stg_billing__invoices') }}
group by issued_on, currency
