-- model: tags (stream)
select id, unnest(tags) as tag from {{ source('app', 'tagged') }}
-- model: per_tag (aggregate)
select tag, count(*) as events from {{ ref('tags') }} group by tag
-- model: rows_ (aggregate)
select count(*) as rows_ from {{ ref('tags') }}
