with

months as (

    select * from {{ ref('int_months') }}

),

periods as (

    select * from {{ ref('int_subscription_periods') }}

)

select
    months.month_start,
    periods.subscription_id,
    periods.plan_id,
    periods.seats,
    periods.mrr_cents
from months
join periods
    on periods.valid_from < months.month_start + interval 1 month
    and (periods.valid_to >= months.month_start + interval 1 month or periods.valid_to is null)
where periods.mrr_cents > 0
