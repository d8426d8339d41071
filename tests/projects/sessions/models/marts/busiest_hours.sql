select
    channel,
    hour(started_at) as hour_of_day,
    count(*) as sessions,
    count(*) / sum(count(*)) over (partition by channel) as share
from {{ ref('sessions') }}
group by channel, hour_of_day
order by channel, hour_of_day
