-- Each viewer who wrote in a minute wrote at least one message in it.
select
    stream_id,
    sent_minute,
    messages,
    chatters
from {{ ref('stream_minutes') }}
where chatters > messages or chatters < 1
