with

source as (

    select * from {{ source('web', 'page_views') }}

),

unique_views as (

    select *
    from source
    where visitor_id is not null
    qualify row_number() over (partition by page_view_id order by viewed_at, url) = 1

),

parsed as (

    select
        page_view_id,
        visitor_id,
        user_id,
        viewed_at,
        url,
        regexp_extract(url, '^https?://([^/?#]+)', 1) as host,
        coalesce(nullif(regexp_extract(url, '^https?://[^/?#]+([^?#]*)', 1), ''), '/') as path,
        nullif(regexp_extract(url, '[?&]utm_source=([^&#]*)', 1), '') as utm_source,
        nullif(regexp_extract(url, '[?&]utm_medium=([^&#]*)', 1), '') as utm_medium,
        nullif(regexp_extract(url, '[?&]utm_campaign=([^&#]*)', 1), '') as utm_campaign,
        nullif(regexp_extract(referrer, '^https?://(?:www\.)?([^/:?#]+)', 1), '') as referrer_host,
        user_agent,
        properties ->> '$.language' as language,
        try_cast(properties ->> '$.screen.width' as integer) as screen_width,
        coalesce(properties ->> '$.experiment', 'control') as experiment,
        load_ms
    from unique_views

)

select
    *,
    {{ channel_group('utm_source', 'utm_medium', 'referrer_host') }} as channel,
    case
        when user_agent ilike '%ipad%' or user_agent ilike '%tablet%' then 'tablet'
        when user_agent ilike '%mobi%' then 'mobile'
        when user_agent is null or user_agent = '' then 'unknown'
        else 'desktop'
    end as device,
    regexp_matches(lower(user_agent), 'bot|crawler|spider') as is_bot
from parsed
