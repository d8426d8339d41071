with

orders as (

    select * from {{ ref('stg_orders') }}

),

totals as (

    select * from {{ ref('int_order_totals') }}

),

payments as (

    select * from {{ ref('int_payments_per_order') }}

),

refunds as (

    select * from {{ ref('int_refunds_per_order') }}

),

final as (

    select
        orders.*,
        coalesce(totals.line_count, 0) as line_count,
        coalesce(totals.units, 0) as units,
        totals.skus,
        totals.dearest_sku,
        coalesce(totals.net_amount, 0) as net_amount,
        coalesce(totals.net_amount, 0) + coalesce(orders.shipping_amount, 0) as order_amount,
        payments.* exclude (order_id),
        coalesce(refunds.refunded_amount, 0) as refunded_amount,
        coalesce(refunds.refund_reasons, []) as refund_reasons,
        case
            when payments.paid_amount is null or payments.paid_amount = 0 then 'unpaid'
            when payments.paid_amount < totals.net_amount then 'partly paid'
            when refunds.refunded_amount >= payments.paid_amount then 'refunded'
            else 'paid'
        end as payment_state
    from orders
    left join totals on orders.order_id = totals.order_id
    left join payments on orders.order_id = payments.order_id
    left join refunds on orders.order_id = refunds.order_id

)

select * from final
