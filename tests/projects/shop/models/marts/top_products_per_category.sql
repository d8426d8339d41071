select
    category,
    sku,
    product_name,
    revenue,
    units_sold,
    rank() over (partition by category order by revenue desc) as revenue_rank,
    dense_rank() over (partition by category order by units_sold desc) as units_rank,
    revenue / sum(revenue) over (partition by category) as category_share,
    sum(revenue) over (partition by category order by revenue desc, sku rows between unbounded preceding and current row)
        / sum(revenue) over (partition by category) as cumulative_share
from {{ ref('product_margins') }}
qualify row_number() over (partition by category order by revenue desc, sku) <= 3
