-- model: by_qualify (latest)
select k, id, n, seen_at, price, flag
from {{ source('app', 'events') }}
qualify row_number() over (partition by k order by seen_at desc, id desc) = 1
-- model: by_subquery (latest)
with numbered as (
    select *, row_number() over (partition by k, g order by id) as row_number
    from {{ source('app', 'events') }}
    where flag
),
final as (
    select k, g, id, x, day from numbered where row_number = 1
)
select * from final
-- model: of_several (latest)
with both_ as (
    select id, k, n from {{ source('app', 'events') }}
    union all
    select id, k, n from {{ source('app', 'more') }}
)
select * from both_ qualify row_number() over (partition by k order by n desc, id desc) <= 1
-- model: keys_alone (latest)
select k from {{ source('app', 'events') }} qualify row_number() over (partition by k order by id) = 1
-- model: hidden_key (latest)
select id, n from {{ source('app', 'events') }} qualify row_number() over (partition by k order by id) = 1
-- model: oldest (latest)
select k, id, seen_at from {{ source('app', 'events') }} qualify row_number() over (partition by k order by seen_at, id) = 1
-- model: by_alias (latest)
select k, id, n, row_number() over (partition by k order by id) as place
from {{ source('app', 'events') }} qualify place = 1
-- model: computed (latest)
select upper(k) as name, id, coalesce(n, 0) as n, seen_at::date as seen_on
from {{ source('app', 'events') }}
qualify row_number() over (partition by upper(k), flag order by seen_at, id) = 1
-- model: reserved (latest)
select k as _row, id as _updated_at from {{ source('app', 'events') }}
qualify row_number() over (partition by k order by id) = 1
-- model: above_zero (latest)
with numbered as (
    select k, id, n, row_number() over (partition by k order by id desc) as place from {{ source('app', 'events') }}
)
select id, k from numbered where place = 1 and n > 0
