with exposed as (

    select visitor_id, experiment, min(viewed_at) as exposed_at
    from {{ ref('stg_web__page_views') }}
    group by visitor_id, experiment

)

select
    exposed.experiment,
    count(distinct exposed.visitor_id) as visitors,
    count(distinct conversions.visitor_id) as converted,
    sum(coalesce(conversions.revenue, 0)) as revenue,
    count(distinct conversions.visitor_id) / count(distinct exposed.visitor_id) as conversion_rate,
    stddev_samp(conversions.revenue) as revenue_stddev
from exposed
left join {{ ref('stg_web__conversions') }} as conversions
    on conversions.visitor_id = exposed.visitor_id and conversions.converted_at > exposed.exposed_at
group by exposed.experiment
