{% macro monthly_amount(amount, billing_interval) -%}
    case {{ billing_interval }}
        when 'year' then {{ amount }} / 12
        when 'quarter' then {{ amount }} / 3
        else {{ amount }}
    end
{%- endmacro %}
