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
-- model: of_several (aggregate)
with both_ as (
    select k, n, seen_at from {{ source('app', 'events') }}
    union all
    select k, n, seen_at from {{ source('app', 'more') }}
    union all
    select order_, 1, null from (select "order" as order_ from {{ source('app', 'events') }} where flag)
)
select k, count(*) as events, sum(n) as total, min(seen_at) as first_at from both_ group by k
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
-- model: shadowed (aggregate)
select k as n, sum(n) as k, count(*) as g from {{ source('app', 'events') }} group by k having sum(n) > 0
-- model: boolean_key (aggregate)
select flag, day, n > 0 as positive, count(*) as events from {{ source('app', 'events') }} group by flag, day, n > 0
-- model: float_key (aggregate)
select x, count(*) as events from {{ source('app', 'events') }} group by x
-- model: filtered_above (aggregate)
with totals as (
    select k, g, count(*) as events from {{ source('app', 'events') }} group by k, g
)
select g as k, k as g, events * 2 as twice from totals where events > 1
