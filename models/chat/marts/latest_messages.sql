with

messages as (

    select * from {{ ref('stg_chat__messages') }}

),

final as (

    select
        stream_id,
        message_id,
        sender_id,
        text,
        sent_at
    from messages
    qualify row_number() over (partition by stream_id order by sent_at desc, message_id desc) = 1

)

select * from final
