with

touched as (

    select
        campaign,
        converted_at::date as converted_on,
        count(*) as conversions,
        sum(revenue) as revenue
    from {{ ref('attribution') }}
    where last_touch = 1 and campaign is not null
    group by all

),

visits as (

    select utm_campaign as campaign, started_at::date as visited_on, count(*) as sessions
    from {{ ref('sessions') }}
    where utm_campaign is not null
    group by all

)

select
    coalesce(visits.campaign, touched.campaign) as campaign,
    coalesce(visits.visited_on, touched.converted_on) as day,
    coalesce(visits.sessions, 0) as sessions,
    coalesce(touched.conversions, 0) as conversions,
    coalesce(touched.revenue, 0) as revenue,
    campaigns.owner,
    campaigns.daily_budget,
    round(touched.revenue / nullif(campaigns.daily_budget, 0), 2) as return_on_spend
from visits
full outer join touched
    on visits.campaign = touched.campaign and visits.visited_on = touched.converted_on
left join {{ ref('stg_web__campaigns') }} as campaigns
    on campaigns.campaign = coalesce(visits.campaign, touched.campaign)
    and coalesce(visits.visited_on, touched.converted_on) between campaigns.starts_on and campaigns.ends_on
