select
    attempted_weekday,
    attempted_hour,
    failure_code,
    count(*) as attempts,
    rank() over (partition by attempted_weekday order by count(*) desc, attempted_hour, failure_code) as position
from {{ ref('stg_billing__payment_attempts') }}
where outcome = 'failed'
group by attempted_weekday, attempted_hour, failure_code
qualify position <= 5
