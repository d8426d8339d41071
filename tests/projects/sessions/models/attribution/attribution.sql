with

touches as (

    select * from {{ ref('touches') }}

)

select
    *,
    (touch_number = 1)::integer as first_touch,
    (touch_number = touches)::integer as last_touch,
    1.0 / touches as linear,
    case
        when touches = 1 then 1.0
        when touches = 2 then 0.5
        when touch_number in (1, touches) then 0.4
        else 0.2 / (touches - 2)
    end as position_based,
    pow(2, -date_diff('day', touched_at, converted_at) / 7) as time_decay
from touches
