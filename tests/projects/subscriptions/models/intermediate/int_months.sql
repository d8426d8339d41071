-- Every month in which anything happened: the spine of the reports.
select distinct issued_month as month_start
from {{ ref('stg_billing__invoices') }}

union

select distinct occurred_month
from {{ ref('stg_billing__subscription_events') }}
