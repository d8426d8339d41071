{# Pairs what is left in `difference`: rows equal in `exact`, of the same number when ordered by `order` on each side.
   Leaves those that have no partner, or one whose `floats` are not close. #}
CREATE OR REPLACE TEMP TABLE pairs AS
WITH single AS (
  SELECT * EXCLUDE (n), sign(n) AS side FROM (SELECT *, unnest(range(abs(n)::BIGINT)) AS copy FROM difference)
),
numbered AS (
  SELECT
    {% for c in exact %}{{ c }}, {% endfor %}side,
    struct_pack({% for c in floats %}{{ c }} := {{ c }}{{ ', ' if not loop.last }}{% endfor %}) AS floats,
    row_number() OVER (
      PARTITION BY {{ (exact + ['side']) | join(', ') }} ORDER BY {{ order | join(', ') }}
    ) AS number
  FROM single
)
SELECT
  {% for c in exact %}{{ c }}, {% endfor %}number,
  any_value(floats) FILTER (side = 1) AS b,
  any_value(floats) FILTER (side = -1) AS r
FROM numbered
GROUP BY {{ (exact + ['number']) | join(', ') }};

CREATE OR REPLACE TEMP TABLE difference AS
WITH apart AS (FROM pairs WHERE b IS NULL OR r IS NULL OR NOT ({{ close | join(' AND ') }}))
SELECT {% for c in all %}{{ 'b.' if c in floats }}{{ c }} AS {{ c }}, {% endfor %}1 AS n FROM apart WHERE b IS NOT NULL
UNION ALL
SELECT {% for c in all %}{{ 'r.' if c in floats }}{{ c }} AS {{ c }}, {% endfor %}-1 AS n FROM apart WHERE r IS NOT NULL;

DROP TABLE pairs
