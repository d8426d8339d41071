select *
from {{ ref('stg_billing__subscription_events') }}
qualify row_number() over (partition by event_id order by occurred_at desc) = 1
