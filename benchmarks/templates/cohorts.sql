with

profiles as (

    select * from {{ ref('[[ reads[0] ]]') }}

),

others as (

    select user_id, events as other_events, segment as other_segment from {{ ref('[[ reads[1] ]]') }}

),

joined as (

    select
        profiles.cohort_month,
        profiles.user_id,
        profiles.segment,
        profiles.amount_usd,
        coalesce(others.other_events, 0) as other_events
    from profiles
    left join others on others.user_id = profiles.user_id

),

final as (

    select
        cohort_month,
        segment,
        count(*) as users,
        count(*) filter (where other_events > [[ least ]]) as users_of_both,
        sum(amount_usd) as amount_usd
    from joined
    group by cohort_month, segment

)

select * from final
