select
    month_start,
    mrr_cents,
    net_cents,
    (expansion_cents + contraction_cents + churn_cents)
        / nullif(lag(mrr_cents) over (order by month_start), 0) as net_change_rate,
    1 + (expansion_cents + contraction_cents + churn_cents)
        / nullif(lag(mrr_cents) over (order by month_start), 0) as net_revenue_retention,
    (new_cents + expansion_cents + reactivation_cents)
        / nullif(abs(contraction_cents + churn_cents), 0) as quick_ratio,
    round(100.0 * -churn_cents / nullif(lag(mrr_cents) over (order by month_start), 0), 2) as churn_pct,
    max(mrr_cents) over (order by month_start rows between unbounded preceding and current row) as peak_mrr_cents,
    avg(net_cents) over (order by month_start rows 2 preceding) as net_cents_3_months
from {{ ref('fct_mrr_movements') }}
