with

source as (

    select * from {{ source('chat', 'messages') }}

),

final as (

    select
        message_id,
        stream_id,
        sender_id,
        text,
        length(text) as characters,
        sent_at,
        date_trunc('minute', sent_at) as sent_minute
    from source

)

select * from final
