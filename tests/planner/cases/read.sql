-- model: per_key (aggregate)
select k, count(*) as events, sum(n) as total from {{ source('app', 'events') }} group by k
-- model: windows (read)
select id, k, row_number() over (partition by k order by id) as place from {{ source('app', 'events') }}
-- model: second (read)
select k, id from {{ source('app', 'events') }} qualify row_number() over (partition by k order by id) = 2
-- model: nulls_first (read)
select k, id from {{ source('app', 'events') }}
qualify row_number() over (partition by k order by seen_at nulls first, id) = 1
-- model: joined (read)
with per_key as (select * from {{ ref('per_key') }}), users as (select * from {{ source('app', 'users') }})
select users.id, users.n, per_key.events
from users
left join per_key on users.k = per_key.k
-- model: of_aggregates (read)
select events, count(*) as keys from {{ ref('per_key') }} group by events
-- model: of_aggregates_inside (read)
with inside as (select k, g, count(*) as events from {{ source('app', 'events') }} group by k, g)
select k, max(events) as most from inside group by k
-- model: two_grains (read)
with
    by_k as (select k, count(*) as events from {{ source('app', 'events') }} group by k),
    by_g as (select g, count(*) as events from {{ source('app', 'more') }} group by g)
select by_k.k, by_g.g from by_k inner join by_g on by_k.events = by_g.events
-- model: ranked (read)
select k, rank() over (order by count(*) desc) as place from {{ source('app', 'events') }} group by k
-- model: joined_then_grouped (read)
select users.k, count(*) as events, sum(events.n) as total
from {{ source('app', 'events') }} as events
inner join {{ source('app', 'users') }} as users on events.k = users.k
group by users.k
-- model: top (read)
select k, events from {{ ref('per_key') }} order by events desc, k limit 2
-- model: union_of_aggregates (read)
select 'events' as what, count(*) as rows_ from {{ source('app', 'events') }}
union all
select 'more', count(*) from {{ source('app', 'more') }}
-- model: exists_in (read)
select id, k from {{ source('app', 'events') }} as e
where exists (select 1 from {{ source('app', 'more') }} as m where m.k = e.k)
-- model: scalar (read)
select id, (select count(*) from {{ source('app', 'more') }}) as others from {{ source('app', 'events') }}
-- model: in_grouped (read)
select id from {{ source('app', 'events') }}
where k in (select k from {{ source('app', 'more') }} group by k having count(*) > 1)
-- model: numbered_twice (read)
select k, id, row_number() over (partition by k order by id) + 1 as place
from {{ source('app', 'events') }} qualify row_number() over (partition by k order by id) = 1
-- model: constants (read)
select 1 as one, 'a' as a
-- model: united (read)
select k from {{ source('app', 'events') }} union select k from {{ source('app', 'more') }}
-- model: over_mixed (read)
select "Key" as k, events from {{ ref('Mixed_Case') }} where TOTAL > 0 or EVENTS > 0
-- model: Mixed_Case (aggregate)
select K as "Key", COUNT(*) as Events, Sum(N) as "Total" from {{ source('app', 'events') }} group by K
-- model: limited (read)
select id from {{ source('app', 'events') }} order by id limit 3
-- model: counted_window (read)
select k, g, count(*) as events, sum(count(*)) over (partition by k) as of_k
from {{ source('app', 'events') }} group by k, g
-- model: correlated (read)
select id, (select max(n) from {{ source('app', 'more') }} as m where m.k = e.k) as most
from {{ source('app', 'events') }} as e
-- model: correlated_exists (read)
select id from {{ source('app', 'events') }} as e
where not exists (select 1 from {{ source('app', 'more') }} as m where m.k = e.k and m.n > e.n)
-- model: rounds (read)
with recursive first_rows as (select k, min(n) as n from {{ source('app', 'events') }} group by k), counted as (
    select k, n, 0 as round from first_rows where n is not null
    union all
    select k, n, round + 1 from counted where round < 3
)
select * from counted
-- model: top_two (read)
select e.k, t.id from (select distinct k from {{ source('app', 'events') }}) as e
left join lateral (select i.id from {{ source('app', 'events') }} as i where i.k = e.k order by i.n desc nulls last, i.id limit 2) as t on true
-- model: rank_among (read)
select e.id, (select count(*) from {{ source('app', 'events') }} as x where x.n > e.n) as above from {{ source('app', 'events') }} as e
