select
    message_id,
    sender_id,
    text,
    sent_at
from {{ ref('stg_chat__messages') }}
where
    stream_id = {{ param('stream_id', 'varchar', description='The stream.') }}
    and sent_at <= {{ as_of() }}
order by sent_at desc, message_id desc
limit {{ param('messages', 'bigint', default=20, min=1, max=1000, description='How many messages to show.') }}
