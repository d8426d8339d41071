{# The clock of a lambda: the server's time in UTC, or the moment that the caller gives. #}
{% macro as_of() -%}
  {{ param("as_of", "timestamp", required=false, description="Moment to answer for, in UTC; now, where it is not given.") }}
{%- endmacro %}
