{% macro hidden() %}'test'{% endmacro %}
