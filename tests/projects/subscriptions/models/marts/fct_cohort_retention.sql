with

cohorts as (

    select subscription_id, min(month_start) as cohort_month, arg_min(mrr_cents, month_start) as first_mrr_cents
    from {{ ref('int_subscription_months') }}
    group by subscription_id

),

active as (

    select
        cohorts.cohort_month,
        date_diff('month', cohorts.cohort_month, months.month_start) as month_number,
        count(distinct months.subscription_id) as subscriptions,
        sum(months.mrr_cents) as mrr_cents
    from {{ ref('int_subscription_months') }} as months
    inner join cohorts using (subscription_id)
    group by 1, 2

)

select
    *,
    first_value(subscriptions) over cohort as cohort_size,
    subscriptions / first_value(subscriptions) over cohort as logo_retention,
    mrr_cents / first_value(mrr_cents) over cohort as revenue_retention
from active
window cohort as (partition by cohort_month order by month_number)
