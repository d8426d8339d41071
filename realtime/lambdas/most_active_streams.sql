select
    stream_id,
    count(*) as messages,
    count(distinct sender_id) as chatters
from {{ ref('stg_chat__messages') }}
where
    sent_at > {{ as_of() }} - interval 20 minute
    and sent_at <= {{ as_of() }}
group by stream_id
order by messages desc, stream_id
limit {{ param('streams', 'bigint', default=10, min=1, max=1000, description='How many streams to show.') }}
