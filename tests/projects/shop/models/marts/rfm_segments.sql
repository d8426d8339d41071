with

last_day as (

    select max(ordered_on) as as_of_day from {{ ref('stg_orders') }}

),

rfm as (

    select
        customer_id,
        date_diff('day', max(ordered_on), (select as_of_day from last_day)) as recency_days,
        count(*) as frequency,
        sum(order_amount) as monetary
    from {{ ref('orders') }}
    where status not in ('cancelled', 'returned')
        and customer_id is not null
    group by customer_id

),

scored as (

    select
        *,
        ntile(5) over (order by recency_days desc, customer_id) as r,
        ntile(5) over (order by frequency, customer_id) as f,
        ntile(5) over (order by monetary, customer_id) as m
    from rfm

)

select
    *,
    r * 100 + f * 10 + m as rfm_score,
    concat_ws('-', r, f, m) as rfm_cell,
    case
        when r >= 4 and f >= 4 then 'champion'
        when r >= 3 and f >= 3 then 'loyal'
        when r <= 2 and f >= 4 then 'at risk'
        when r = 1 then 'lost'
        else 'other'
    end as segment,
    percent_rank() over (order by monetary) as monetary_percentile
from scored
