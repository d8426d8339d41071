select
    order_id,
    count(*) as refunds,
    sum(refund_amount) as refunded_amount,
    max(refunded_at) as last_refunded_at,
    list(distinct refund_reason order by refund_reason) as refund_reasons
from {{ ref('stg_refunds') }}
group by all
