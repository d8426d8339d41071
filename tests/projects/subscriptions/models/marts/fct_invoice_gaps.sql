select
    account_id,
    invoice_id,
    issued_on,
    lag(issued_on) over w as previous_issued_on,
    issued_on - lag(issued_on) over w as days_since_previous,
    count(*) over w as invoice_number,
    sum(total_amount) over (
        partition by account_id order by issued_on range between interval 90 days preceding and current row
    ) as invoiced_90_days,
    last_value(total_amount ignore nulls) over w as last_known_amount,
    total_amount > 2 * avg(total_amount) over (partition by account_id) as is_unusual
from {{ ref('stg_billing__invoices') }}
window w as (partition by account_id order by issued_at, invoice_id)
