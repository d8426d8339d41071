select
    invoice_id,
    account_id,
    subscription_id,
    amount_due,
    round(amount_due * tax_rate, 2) as tax_amount,
    amount_due + round(amount_due * coalesce(tax_rate, 0), 2) as total_amount,
    coalesce(currency, 'USD') as currency,
    issued_at,
    issued_at::date as issued_on,
    date_trunc('month', issued_at)::date as issued_month,
    coalesce(due_on, issued_at::date + 14) as due_on,
    lines -> 0 ->> 'sku' as first_sku,
    json_array_length(lines) as line_count
from {{ source('billing', 'invoices') }}
