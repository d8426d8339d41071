{% macro channel_group(source, medium, referrer_host) %}
    case
        when {{ medium }} in ('cpc', 'ppc', 'paidsearch') then 'Paid Search'
        when regexp_matches({{ medium }}, '^(display|banner|cpm)$') then 'Display'
        when {{ medium }} = 'email' or {{ source }} like '%newsletter%' then 'Email'
        when {{ source }} in ('facebook', 'instagram', 'twitter', 'linkedin')
            or regexp_matches({{ referrer_host }}, '(facebook|instagram|t\.co|linkedin)') then 'Social'
        when {{ medium }} = 'organic' or regexp_matches({{ referrer_host }}, '(^|\.)(google|bing|duckduckgo)\.') then 'Organic Search'
        when {{ medium }} = 'referral' or {{ referrer_host }} is not null then 'Referral'
        when {{ source }} is null then 'Direct'
        else 'Other'
    end
{% endmacro %}
