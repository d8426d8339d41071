with

events as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

final as (

    select
        event_id,
        user_id,
        session_id,
        kind,
        country,
        quantity,
        amount_usd,
        coalesce(amount_usd, 0) * 2 as doubled_usd,
        happened_at,
        happened_[[ grain ]],
        happened_on,
        is_large,
        score,
        score_band,
        note_length
    from events
    where user_id is not null
        and kind not in ('test', 'ping')
        and quantity between 0 and [[ limit ]]

)

select * from final
