{# Rows of `batch` and `realtime` that the other side does not have, with n > 0 in batch and n < 0 in real time. #}
CREATE OR REPLACE TEMP TABLE difference AS
SELECT {{ all | join(', ') }}, sum(side) AS n
FROM (SELECT *, 1 AS side FROM batch UNION ALL BY NAME SELECT *, -1 AS side FROM realtime)
GROUP BY ALL
HAVING sum(side) <> 0
