with

accounts as (

    select * from {{ ref('stg_billing__accounts') }}

),

subscriptions as (

    select
        account_id,
        count(*) as subscriptions,
        count(*) filter (where is_active) as active_subscriptions,
        sum(seats) filter (where is_active) as active_seats,
        min(started_at) as first_started_at,
        max(cancelled_at) as last_cancelled_at,
        list(plan_id order by started_at, subscription_id) as plan_history
    from {{ ref('stg_billing__subscriptions') }}
    where account_id is not null
    group by account_id

),

invoices as (

    select
        account_id,
        count(*) as invoices,
        sum(total_amount) as invoiced_amount,
        max(issued_at) as last_invoiced_at,
        arg_max(first_sku, (issued_at, invoice_id)) as last_sku
    from {{ ref('stg_billing__invoices') }}
    group by account_id

)

select
    accounts.*,
    coalesce(subscriptions.active_subscriptions, 0) as active_subscriptions,
    subscriptions.active_seats,
    coalesce(subscriptions.plan_history, []) as plan_history,
    list_contains(coalesce(subscriptions.plan_history, []), 'enterprise') as was_enterprise,
    len(coalesce(subscriptions.plan_history, [])) as plans,
    coalesce(invoices.invoiced_amount, 0)::decimal(14, 2) as invoiced_amount,
    invoices.last_invoiced_at,
    invoices.last_sku,
    case
        when subscriptions.active_subscriptions > 0 then 'customer'
        when subscriptions.account_id is not null then 'churned'
        else 'lead'
    end as lifecycle_stage
from accounts
left join subscriptions using (account_id)
left join invoices using (account_id)
