with

subscription_months as (

    select * from {{ ref('int_subscription_months') }}

),

with_previous as (

    select
        subscription_id,
        month_start,
        mrr_cents,
        lag(mrr_cents) over subscription_history as previous_mrr_cents,
        lag(month_start) over subscription_history as previous_month_start,
        lead(month_start) over subscription_history as next_month_start
    from subscription_months
    window subscription_history as (partition by subscription_id order by month_start)

),

changes as (

    select
        subscription_id,
        month_start,
        mrr_cents,
        case
            when previous_mrr_cents is null then 'new'
            when previous_month_start < month_start - interval 1 month then 'reactivation'
            when mrr_cents > previous_mrr_cents then 'expansion'
            when mrr_cents < previous_mrr_cents then 'contraction'
            else 'retained'
        end as change_type,
        mrr_cents - coalesce(previous_mrr_cents, 0) as change_cents
    from with_previous

),

churn as (

    select
        subscription_id,
        (month_start + interval '1 month')::date as month_start,
        0 as mrr_cents,
        'churn' as change_type,
        -mrr_cents as change_cents
    from with_previous
    where (next_month_start is null or next_month_start > month_start + interval '1 month')
        and month_start < (select max(month_start) from subscription_months)

)

select * from changes
union all
select * from churn
