{# The first rows of `difference` by key: n, each value as text, whether the other side has a row of the same key,
   and of each column whether it differs there. #}
WITH shown AS (
  SELECT * FROM difference ORDER BY {{ (keys or all) | join(', ') }}, n DESC LIMIT {{ limit }}
)
SELECT
  shown.n,
  {% for c in all %}CAST(shown.{{ c }} AS VARCHAR), {% endfor %}
  {% if keys %}
  other.n IS NOT NULL{% for condition in close %}, NOT ({{ condition }}){% endfor %}
  {% else %}
  FALSE{% for c in all %}, FALSE{% endfor %}
  {% endif %}
FROM shown
{% if keys %}
LEFT JOIN (SELECT DISTINCT ON ({{ keys | join(', ') }}, sign(n)) * FROM difference) AS other
  ON sign(other.n) = -sign(shown.n)
  {% for c in keys %}AND shown.{{ c }} IS NOT DISTINCT FROM other.{{ c }} {% endfor %}
{% endif %}
ORDER BY {% for c in (keys or all) %}shown.{{ c }}, {% endfor %}shown.n DESC
