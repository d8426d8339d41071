select
    refund_id,
    order_id,
    amount as refund_amount,
    case
        when reason ilike '%damage%' or reason ilike '%broken%' then 'damaged'
        when reason ilike '%late%' then 'late'
        when regexp_matches(lower(reason), '(size|fit|small|large)') then 'fit'
        when reason is null or trim(reason) = '' then 'not given'
        else 'other'
    end as refund_reason,
    refunded_at,
    (refunded_at at time zone 'UTC')::date as refunded_on
from {{ source('store', 'refunds') }}
