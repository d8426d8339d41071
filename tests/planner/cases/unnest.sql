-- model: tags (stream)
select id, unnest(tags) as tag from {{ source('app', 'tagged') }}
-- model: per_tag (aggregate)
select tag, count(*) as events from {{ ref('tags') }} group by tag
-- model: rows_ (aggregate)
select count(*) as rows_ from {{ ref('tags') }}
-- model: numbered (stream)
select t.id, u.tag, u.place from {{ source('app', 'tagged') }} as t cross join unnest(t.tags) with ordinality as u(tag, place)
-- model: first_places (aggregate)
select tag, min(place) as first_place, count(*) as n from {{ ref('numbered') }} group by tag
-- model: kept (aggregate)
select u.tag, count(*) as n, count(u.tag) as tags from {{ source('app', 'tagged') }} as t left join unnest(t.tags) as u(tag) on true group by u.tag
-- model: side_by_side (stream)
select id, unnest(tags) as tag, unnest(['a', 'b']) as letter from {{ source('app', 'tagged') }}
-- model: pairs (aggregate)
select tag, letter, count(*) as n from {{ ref('side_by_side') }} group by all
-- model: spine (read)
select d::date as d from generate_series(date '2024-01-01', date '2024-02-10', interval 1 day) as t(d)
-- model: spine_of_tags (read)
select spine.d, count(*) as n from {{ ref('spine') }} as spine cross join {{ ref('tags') }} as tags group by spine.d
