select
    sent_minute,
    messages,
    chatters,
    characters
from {{ ref('stream_minutes') }}
where
    stream_id = {{ param('stream_id', 'varchar', description='The stream.') }}
    and sent_minute >= {{ param('from_minute', 'timestamp', description='First minute to show, in UTC.') }}
    and sent_minute < {{ param('to_minute', 'timestamp', description='Minute to end before, in UTC.') }}
order by sent_minute
