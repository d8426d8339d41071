with

source as (

    select * from {{ source('[[ system ]]', '[[ table ]]') }}

),

renamed as (

    select
        event_id,
        user_id,
        session_id,
        lower(trim(kind)) as kind,
        upper(country) as country,
        coalesce(quantity, 0) as quantity,
        amount as amount_usd,
        score,
        happened_at,
        date_trunc('[[ grain ]]', happened_at) as happened_[[ grain ]],
        cast(happened_at as date) as happened_on,
        amount > [[ threshold ]] as is_large,
        case
            when score < 0.2 then 'low'
            when score < [[ cut ]] then 'middle'
            when score is null then 'unknown'
            else 'high'
        end as score_band,
        length(note) as note_length
    from source

),

final as (

    select * from renamed

)

select * from final
