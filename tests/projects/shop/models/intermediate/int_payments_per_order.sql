{% set methods = ['credit_card', 'bank_transfer', 'gift_card', 'paypal'] %}

select
    order_id,
    {% for method in methods %}
    coalesce(sum(amount) filter (where payment_method = '{{ method }}' and is_successful), 0) as {{ method }}_amount,
    {% endfor %}
    coalesce(sum(amount) filter (where is_successful), 0) as paid_amount,
    count(*) filter (where not is_successful) as failed_attempts,
    min(paid_at) filter (where is_successful) as first_paid_at,
    max(paid_at) filter (where is_successful) as last_paid_at,
    bool_or(payment_status = 'chargeback') as has_chargeback
from {{ ref('stg_payments') }}
where order_id is not null
group by 1
