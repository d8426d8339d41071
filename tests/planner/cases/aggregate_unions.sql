-- model: of_several (aggregate)
with both_ as (
    select k, n, seen_at from {{ source('app', 'events') }}
    union all
    select k, n, seen_at from {{ source('app', 'more') }}
    union all
    select order_, 1, null from (select "order" as order_ from {{ source('app', 'events') }} where flag)
)
select k, count(*) as events, sum(n) as total, min(seen_at) as first_at from both_ group by k
-- model: twice (aggregate)
with both_ as (
    select k, n from {{ source('app', 'events') }} union all select k, n from {{ source('app', 'events') }}
)
select k, count(*) as events, sum(n) as total from both_ group by k
-- model: both (stream)
select k, n, id from {{ source('app', 'events') }} union all select k, n, id from {{ source('app', 'more') }}
-- model: over_both (aggregate)
with rows_ as (select * from {{ ref('both') }}), final as (select k, count(*) as events from rows_ group by 1)
select * from final
