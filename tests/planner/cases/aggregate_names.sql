-- model: Mixed_Case (aggregate)
select K as "Key", COUNT(*) as Events, Sum(N) as "Total" from {{ source('app', 'events') }} group by K
-- model: ordered (aggregate)
select k, count(*) as how_many from {{ source('app', 'events') }} group by k order by how_many desc
-- model: reserved (aggregate)
select k as _updated_at, g as _row, count(*) as _state from {{ source('app', 'events') }} group by k, g
