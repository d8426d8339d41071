-- model: plain (stream)
select * from {{ source('app', 'events') }}
-- model: mapped (stream)
with source as (
    select * from {{ source('app', 'events') }}
),
final as (
    select id, k, coalesce(n, 0) as n, price, "order" as "from", case when flag then k end as shown
    from source
    where x is null or x < 100
)
select * from final
-- model: both (stream)
select id, k, n from {{ source('app', 'events') }}
union all
select id, k, n from {{ source('app', 'more') }} where n > 0
-- model: over_mapped (stream)
with source as (select * from {{ ref('mapped') }}), final as (select id, "from" as k from source where n <> 7)
select * from final
-- model: like_jinja (stream)
select id, '{{ "{{" }} k }}{{ "{#" }} a {{ "{%" }} b' || k as text from {{ source('app', 'events') }}
-- model: unpivoted (stream)
unpivot (select id, k, n, g from {{ source('app', 'events') }}) on n, g into name measure value amount
