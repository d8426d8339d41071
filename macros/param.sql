{#
  A parameter of a lambda: in DuckDB the prepared statement's `$name`, typed. What else is said of it
  (default, bounds, format, description) travels in a comment, which Duet reads.
#}
{% macro param(name, type, default=none, required=none, description=none, min=none, max=none, enum=none, format=none) -%}
  {%- set declared = {"name": name, "type": type} -%}
  {%- for key, value in {
      "default": default, "required": required, "description": description, "min": min, "max": max, "enum": enum,
      "format": format
    }.items() if value is not none -%}
    {%- do declared.update({key: value}) -%}
  {%- endfor -%}
  {#- An escaped star is the same JSON, and neither begins nor ends a comment. -#}
  CAST(${{ name }} /* duet.param {{ tojson(declared) | replace("*", "\\u002a") }} */ AS {{ type }})
{%- endmacro %}
