-- model: clock
-- says: models/clock.sql:3:8: 
-- says: it depends on when the query runs
select
    id,
       now() as at_
from {{ source('app', 'events') }}
-- model: chance
-- says: models/chance.sql:1:12: 
select id, random() as r from {{ source('app', 'events') }}
-- model: unknown_table
-- says: DuckDB does not take this SQL
select * from nowhere
-- model: unknown_column
-- says: DuckDB does not take this SQL
select nothing from {{ source('app', 'events') }}
-- model: misspelt
-- says: models/misspelt.sql:3:
-- says: did you mean seen_at? make it run in DuckDB first
with

counted as (select seen_att, count(*) as n from {{ source('app', 'events') }} group by seen_att)

select * from counted
-- model: not_sql
-- says: models/not_sql.sql:
-- says: can't be parsed
select from where
-- model: no_query
-- says: this is create
create table t (a integer)
-- model: two_statements
-- says: there are 2 statements in it
select 1 as a; select 2 as b
-- model: same_name_twice
-- says: two columns are called
select id, n as id from {{ source('app', 'events') }}
-- model: hidden_column
-- says: _ingested_at is the hidden column of landing tables
select id, n as _ingested_at from {{ source('app', 'events') }}
-- model: over_refused
-- says: models/over_refused.sql: waits for models/clock.sql
select * from {{ ref('clock') }}
-- model: over_opted_out
-- says: reads opted_out, which is not kept in real time
-- says: add `meta: {realtime: true}`
select * from {{ ref('opted_out') }}
-- model: by_chance
-- says: models/by_chance.sql:1:11: 
select k, any_value(n) as n from {{ source('app', 'events') }} group by k
-- model: any_order
-- says: depends on chance
select k, list(n) as n from {{ source('app', 'events') }} group by k
-- model: wrong_option
-- says: meta.realtime has unknown option modes
select id from {{ source('app', 'events') }}
-- model: wrong_mode
-- says: meta.realtime.mode is 'magic'
select id from {{ source('app', 'events') }}
-- model: wrong_order
-- says: meta.realtime.order_by names n, by which the model is not grouped
select k, count(*) as n from {{ source('app', 'events') }} group by k
-- model: granularity_of_words
-- says: meta.realtime.index_granularity is 'fine'
-- says: write a number of rows from 1 to 1,048,576
select k, count(*) as n from {{ source('app', 'events') }} group by k
-- model: order_of_numbers
-- says: meta.realtime.order_by is [1]
select k, count(*) as n from {{ source('app', 'events') }} group by k
-- model: partitioned_by_a_sum
-- says: meta.realtime.partition_by reads total, which is none of the keys of the state
-- says: the keys of the state are k
select k, sum(n) as total from {{ source('app', 'events') }} group by k
-- model: kept_by_no_time
-- says: meta.realtime.ttl is 90 days, but the state, grouped by k, has no date or timestamp that the model shows
select k, max(day) as newest from {{ source('app', 'events') }} group by k
-- model: kept_by_two_times
-- says: meta.realtime.ttl is 90 days, but the state, grouped by seen_at, day, has the times seen_at, day
select seen_at, day, count(*) as n from {{ source('app', 'events') }} group by seen_at, day
-- model: kept_under_another_name
-- says: meta.realtime.ttl is 90 days, but the model is not the rows of one state under their own names
select seen_at as day, day as seen_on, n from (
    select day, max(seen_at) as seen_at, count(*) as n from {{ source('app', 'events') }} group by day
) as grouped
-- model: kept_nowhere
-- says: meta.realtime.ttl is set, but no table is made for the model: its rows are in the landing table of its source
select id, seen_at from {{ source('app', 'events') }}
-- model: ordered_nowhere
-- says: meta.realtime.order_by is set, but no table is made for the model: computed when read
select k, count(*) as n from {{ source('app', 'events') }} group by k
-- model: copied_in_strange_parts
-- says: meta.realtime.partition_by reads made, which is none of the model's columns
select id, seen_at from {{ source('app', 'events') }}
-- model: latest_asked_for
-- says: asks for latest, but the model is aggregate
select k, count(*) as n from {{ source('app', 'events') }} group by k
-- model: refreshed_by_the_way
-- says: meta.realtime.refresh_every is '90'
select id from {{ source('app', 'events') }}
-- model: refreshed_and_expired
-- says: meta.realtime.ttl is set, but the model's rows are replaced as a whole
select id from {{ source('app', 'events') }}
-- model: not_refreshed
-- says: meta.realtime.refresh_every is set, but the model is not refreshed
select id from {{ source('app', 'events') }}
-- model: refreshed_in_no_order
-- says: meta.realtime.order_by names gone, by which a table of the model can't be ordered
select id from {{ source('app', 'events') }}
-- model: published
-- says: column gap: type INTERVAL has no exact ClickHouse form
select id, seen_at - seen_at as gap from {{ source('app', 'events') }}
-- model: published_null
-- says: column nothing is NULL, of no type
select id, null as nothing from {{ source('app', 'events') }}
-- model: published_of_no_known_type
-- says: the types of its columns are not known: DuckDB does not take this SQL
-- says: declare every column of the model with its `data_type`
select * from somewhere_else
