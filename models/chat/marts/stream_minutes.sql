with

messages as (

    select * from {{ ref('stg_chat__messages') }}

),

final as (

    select
        stream_id,
        sent_minute,
        count(*) as messages,
        count(distinct sender_id) as chatters,
        sum(characters) as characters
    from messages
    group by stream_id, sent_minute

)

select * from final
