{% macro cents_to_amount(column_name, places=2) -%}
    ({{ column_name }} / 100)::decimal(16, {{ places }})
{%- endmacro %}
