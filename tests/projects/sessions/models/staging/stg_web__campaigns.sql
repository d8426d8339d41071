select
    campaign,
    coalesce(owner, 'nobody') as owner,
    daily_budget,
    starts_on,
    coalesce(ends_on, date '2099-12-31') as ends_on
from {{ source('web', 'campaigns') }}
