select
    o.order_id,
    o.customer_id,
    o.ordered_at,
    o.ordered_at + interval '{{ var("late_after_days") }} days' as due_at,
    o.first_paid_at,
    date_diff('hour', o.ordered_at, o.first_paid_at) as hours_to_payment,
    greatest(date_diff('day', o.ordered_at, o.first_paid_at) - {{ var("late_after_days") }}, 0) as days_late,
    o.order_amount - coalesce(o.paid_amount, 0) as open_amount
from {{ ref('orders') }} as o
where o.status not in ('cancelled', 'returned')
    and (o.first_paid_at is null or o.first_paid_at > o.ordered_at + interval '{{ var("late_after_days") }} days')
    and o.order_amount > 0
