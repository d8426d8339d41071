select
    count(*) as messages,
    count(distinct sender_id) as chatters
from {{ ref('stg_chat__messages') }}
where
    stream_id = {{ param('stream_id', 'varchar', description='The stream.') }}
    and sent_at > {{ as_of() }} - interval 20 minute
    and sent_at <= {{ as_of() }}
