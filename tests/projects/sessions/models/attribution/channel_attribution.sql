select
    channel,
    count(distinct conversion_id) as conversions,
    sum(first_touch) as first_touch_conversions,
    sum(last_touch) as last_touch_conversions,
    sum(linear) as linear_conversions,
    sum(position_based) as position_based_conversions,
    sum(revenue) filter (where first_touch = 1) as first_touch_revenue,
    sum(revenue) filter (where last_touch = 1) as last_touch_revenue,
    sum(revenue * linear) as linear_revenue,
    round(sum(time_decay), 3) as time_decay_weight
from {{ ref('attribution') }}
group by channel
