select
    month_start,
    coalesce(sum(change_cents) filter (where change_type = 'new'), 0) as new_cents,
    coalesce(sum(change_cents) filter (where change_type = 'reactivation'), 0) as reactivation_cents,
    coalesce(sum(change_cents) filter (where change_type = 'expansion'), 0) as expansion_cents,
    coalesce(sum(change_cents) filter (where change_type = 'contraction'), 0) as contraction_cents,
    coalesce(sum(change_cents) filter (where change_type = 'churn'), 0) as churn_cents,
    sum(change_cents) as net_cents,
    sum(sum(change_cents)) over (order by month_start) as mrr_cents
from {{ ref('fct_mrr_changes') }}
group by month_start
