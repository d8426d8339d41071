with

events as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

final as (

    select
        user_id,
        event_id as last_event_id,
        kind as last_kind,
        country as last_country,
        amount_usd as last_amount_usd,
        happened_at as last_happened_at
    from events
    qualify row_number() over (partition by user_id order by happened_at desc, event_id desc) = 1

)

select * from final
