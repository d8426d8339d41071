{{ config(meta={'realtime': false}) }}
select random() as lot, * from {{ ref('totals') }}
