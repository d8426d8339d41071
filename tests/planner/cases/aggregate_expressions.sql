-- model: having_and_expressions (aggregate)
select
    k as key,
    sum(n) + 1 as total_and_one,
    sum(price) / count(*) as mean,
    case when count(*) > 2 then 'many' else 'few' end as size
from {{ source('app', 'events') }}
where n is not null
group by k
having count(*) > 1 and min(n) < 100
-- model: filtered_above (aggregate)
with totals as (
    select k, g, count(*) as events from {{ source('app', 'events') }} group by k, g
)
select g as k, k as g, events * 2 as twice from totals where events > 1
-- model: key_in_expressions (aggregate)
select
    upper(k) || '!' as loud, length(k) as letters, k || length(k) as both_, count(*) as events
from {{ source('app', 'events') }}
group by k, length(k)
having k is not null and length(k) >= 0
-- model: conditional (aggregate)
select k, sum(case when flag then n end) as flagged, max(coalesce(n, 0)) as most, min(k || '-') as least
from {{ source('app', 'events') }} group by k
-- model: of_a_month (aggregate)
select date_trunc('month', seen_at) as seen_month, count(*) as events, min(seen_at) as first_at
from {{ source('app', 'events') }} group by 1
