-- model: users (read)
select * from {{ source('app', 'users') }}
-- model: users_per_k (read)
select k, count(*) as users, sum(n) as total from {{ source('app', 'users') }} group by k
-- model: through_stream (read)
select k, count(*) as users from {{ ref('users') }} where n is not null group by k
-- model: newest (read)
select id, n from {{ source('app', 'users') }} qualify row_number() over (partition by k order by id) = 1
-- model: with_events (read)
with both_ as (
    select k from {{ source('app', 'users') }} union all select k from {{ source('app', 'events') }}
)
select k, count(*) as rows_ from both_ group by k
