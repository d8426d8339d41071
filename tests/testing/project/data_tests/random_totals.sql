select customer from {{ ref('totals') }} where random() > 2
