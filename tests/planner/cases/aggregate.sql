-- model: per_key (aggregate)
with events as (
    select * from {{ source('app', 'events') }}
),
final as (
    select
        k,
        count(*) as events,
        count(n) as numbers,
        count(distinct g) as groups,
        sum(n) as total,
        sum(big) as total_big,
        sum(price) as revenue,
        avg(n) as mean,
        avg(price) as mean_price,
        min(seen_at) as first_at,
        max(day) as last_day,
        min(k) as least,
        max(x) as most,
        bool_or(flag) as any_flag,
        bool_and(flag) as all_flags,
        count(*) filter (where n > 0) as positive,
        sum(price) filter (where flag) as flagged
    from events
    group by k
)
select * from final
-- model: overall (aggregate)
select count(*) as events, sum(n) as total, max(seen_at) as newest, count(distinct k) as ks
from {{ source('app', 'events') }}
-- model: two_keys (aggregate)
select k, g, count(*) as events, max(big) as biggest
from {{ source('app', 'events') }}
group by all
-- model: keys_only (aggregate)
select k, g from {{ source('app', 'events') }} group by k, g
-- model: key_hidden (aggregate)
select count(*) as events from {{ source('app', 'events') }} group by k
-- model: shadowed (aggregate)
select k as n, sum(n) as k, count(*) as g from {{ source('app', 'events') }} group by k having sum(n) > 0
-- model: boolean_key (aggregate)
select flag, day, n > 0 as positive, count(*) as events from {{ source('app', 'events') }} group by flag, day, n > 0
-- model: float_key (aggregate)
select x, count(*) as events from {{ source('app', 'events') }} group by x
-- model: pivoted (aggregate)
pivot (select k, flag, n from {{ source('app', 'events') }}) on flag in (true, false) using sum(n) as total, count(*) as events
-- model: pivoted_in_from (aggregate)
select k, low, high from (select k, n, g from {{ source('app', 'events') }}) pivot (sum(n) for g in (1 as low, 2 as high))
-- model: of_a_constant (aggregate)
select 'all' as segment, count(*) as events, sum(n) as total from {{ source('app', 'events') }} group by 1
