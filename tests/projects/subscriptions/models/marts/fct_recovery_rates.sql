select
    failure_path is not null as ever_failed,
    dunning_state,
    count(*) as invoices,
    sum(open_amount) as open_amount,
    count(*) / sum(count(*)) over () as share_of_invoices,
    quantile_cont(days_past_due, 0.5) as median_days_past_due
from {{ ref('fct_dunning') }}
group by 1, 2
