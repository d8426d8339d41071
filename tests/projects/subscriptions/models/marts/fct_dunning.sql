with

attempts as (

    select
        invoice_id,
        count(*) as attempts,
        count(*) filter (where outcome = 'failed') as failures,
        min(attempted_at) as first_attempt_at,
        max(attempted_at) as last_attempt_at,
        min(case when outcome = 'succeeded' then attempted_at end) as collected_at,
        sum(amount) filter (where outcome = 'succeeded') as collected_amount,
        string_agg(failure_code, ' > ' order by attempted_at, attempt_id) as failure_path,
        last(outcome order by attempted_at, attempt_id) as last_outcome
    from {{ ref('stg_billing__payment_attempts') }}
    group by invoice_id

)

select
    invoices.invoice_id,
    invoices.account_id,
    invoices.due_on,
    attempts.attempts,
    attempts.failures,
    attempts.failure_path,
    attempts.last_outcome,
    attempts.collected_at,
    invoices.total_amount - coalesce(attempts.collected_amount, 0) as open_amount,
    attempts.collected_at::date - invoices.due_on as days_past_due,
    case
        when attempts.invoice_id is null then 'never attempted'
        when attempts.collected_at is not null and attempts.failures > 0 then 'recovered'
        when attempts.collected_at is not null then 'collected'
        when attempts.failures >= 3 then 'lost'
        else 'retrying'
    end as dunning_state
from {{ ref('stg_billing__invoices') }} as invoices
left join attempts on invoices.invoice_id = attempts.invoice_id
where invoices.total_amount > 0
