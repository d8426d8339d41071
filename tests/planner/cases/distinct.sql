-- model: keys (aggregate)
select distinct k, g from {{ source('app', 'events') }}
-- model: expressions (aggregate)
select distinct k as key, n > 0 as positive from {{ source('app', 'events') }} where flag
-- model: of_aggregates (read)
select distinct events from (select k, count(*) as events from {{ source('app', 'events') }} group by k) as t
