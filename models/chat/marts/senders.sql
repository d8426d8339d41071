with

messages as (

    select * from {{ ref('stg_chat__messages') }}

),

activity as (

    select
        sender_id,
        count(*) as messages,
        count(distinct stream_id) as streams,
        sum(characters) as characters,
        max(characters) as longest_message,
        min(sent_at) as first_message_at,
        max(sent_at) as last_message_at
    from messages
    group by sender_id

),

final as (

    select
        sender_id,
        messages,
        streams,
        characters,
        longest_message,
        characters / messages as characters_per_message,
        first_message_at,
        last_message_at
    from activity

)

select * from final
