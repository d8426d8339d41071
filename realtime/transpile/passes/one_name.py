"""Functions under one name: an alias as the function it stands for, DuckDB's macros written out."""

from __future__ import annotations

import functools

import sqlglot
from sqlglot import exp

ALIASES: dict[str, str] = {
    # Those that sqlglot does not know itself; the right ones it reads as nodes.
    "add": "+",
    "aggregate": "list_aggregate",
    "apply": "list_transform",
    "arbitrary": "first",
    "array_aggr": "list_aggregate",
    "array_aggregate": "list_aggregate",
    "array_apply": "list_transform",
    "array_dot_product": "array_inner_product",
    "array_grade_up": "list_grade_up",
    "array_has_all": "list_has_all",
    "array_has_any": "list_has_any",
    "array_indexof": "list_position",
    "array_intersect": "list_intersect",
    "array_negative_dot_product": "array_negative_inner_product",
    "array_position": "list_position",
    "array_reduce": "list_reduce",
    "array_resize": "list_resize",
    "array_select": "list_select",
    "array_transform": "list_transform",
    "array_unique": "list_unique",
    "array_where": "list_where",
    "array_zip": "list_zip",
    "base64": "to_base64",
    "divide": "//",
    "editdist3": "levenshtein",
    "element_at": "map_extract",
    "from_binary": "unbin",
    "from_hex": "unhex",
    "fsum": "kahan_sum",
    "gcd": "greatest_common_divisor",
    "grade_up": "list_grade_up",
    "lcm": "least_common_multiple",
    "list_aggr": "list_aggregate",
    "list_apply": "list_transform",
    "list_cat": "list_concat",
    "list_dot_product": "list_inner_product",
    "list_indexof": "list_position",
    "list_negative_dot_product": "list_negative_inner_product",
    "list_pack": "list_value",
    "mean": "avg",
    "mismatches": "hamming",
    "multiply": "*",
    "quantile": "quantile_disc",
    "reduce": "list_reduce",
    "regexp_split_to_array": "string_split_regex",
    "roundbankers": "round_even",
    "str_split_regex": "string_split_regex",
    "struct_has": "struct_contains",
    "struct_indexof": "struct_position",
    "subtract": "-",
    "sumkahan": "kahan_sum",
    "to_binary": "bin",
}
"""By name in lower case what DuckDB itself says it is an alias of, or an operator."""

MACROS: dict[str, tuple[tuple[str, ...], str]] = {
    "array_append": (("arr", "el"), "list_append(arr, el)"),
    "array_pop_front": (("arr",), "arr[2:]"),
    "array_prepend": (("el", "arr"), "list_prepend(el, arr)"),
    "array_push_back": (("arr", "e"), "list_concat(arr, list_value(e))"),
    "array_push_front": (("arr", "e"), "list_concat(list_value(e), arr)"),
    "array_reverse": (("l",), "list_reverse(l)"),
    "days_in_month": (("date",), '"day"(last_day(date))'),
    "fdiv": (("x", "y"), "floor((x / y))"),
    "fmod": (("x", "y"), "(x - (y * floor((x / y))))"),
    "geomean": (("x",), "exp(avg(ln(x)))"),
    "geometric_mean": (("x",), "geomean(x)"),
    "list_any_value": (("l",), "list_aggr(l, 'any_value')"),
    "list_append": (("l", "e"), "list_concat(l, list_value(e))"),
    "list_avg": (("l",), "list_aggr(l, 'avg')"),
    "list_bit_and": (("l",), "list_aggr(l, 'bit_and')"),
    "list_bit_or": (("l",), "list_aggr(l, 'bit_or')"),
    "list_bit_xor": (("l",), "list_aggr(l, 'bit_xor')"),
    "list_bool_and": (("l",), "list_aggr(l, 'bool_and')"),
    "list_bool_or": (("l",), "list_aggr(l, 'bool_or')"),
    "list_mad": (("l",), "list_aggr(l, 'mad')"),
    "list_median": (("l",), "list_aggr(l, 'median')"),
    "list_prepend": (("e", "l"), "list_concat(list_value(e), l)"),
    "list_product": (("l",), "list_aggr(l, 'product')"),
    "list_sem": (("l",), "list_aggr(l, 'sem')"),
    "list_stddev_pop": (("l",), "list_aggr(l, 'stddev_pop')"),
    "list_stddev_samp": (("l",), "list_aggr(l, 'stddev_samp')"),
    "list_string_agg": (("l",), "list_aggr(l, 'string_agg')"),
    "list_sum": (("l",), "list_aggr(l, 'sum')"),
    "list_var_pop": (("l",), "list_aggr(l, 'var_pop')"),
    "list_var_samp": (("l",), "list_aggr(l, 'var_samp')"),
    "map_contains_value": (("map", "value"), 'contains(map_values("map"), "value")'),
    "wavg": (("value", "weight"), 'weighted_avg("value", weight)'),
    "weighted_avg": (
        ("value", "weight"),
        '(sum(("value" * weight)) / sum(CASE  WHEN (("value" IS NOT NULL)) THEN (weight) ELSE 0 END))',
    ),
}
"""DuckDB's macros, in its own words."""
_OPERATORS: dict[str, type[exp.Binary]] = {
    "+": exp.Add, "-": exp.Sub, "*": exp.Mul, "//": exp.IntDiv,
}  # fmt: skip


def one_name(tree: exp.Query) -> exp.Query:
    """Rewrites in place every call of ``tree`` that has another name; a macro may stand in a macro."""
    _rename(tree)
    for reverse in list(tree.find_all(exp.ArrayReverse)):
        reverse.replace(exp.Anonymous(this="list_reverse", expressions=[reverse.this]))
    for ignoring in list(tree.find_all(exp.IgnoreNulls)):
        if isinstance(ignoring.this, exp.AnyValue):  # which ignores them anyway
            ignoring.this.meta.update(ignoring.meta)
            ignoring.replace(ignoring.this)
    for quantile in [q for q in tree.find_all(exp.Quantile) if type(q) is exp.Quantile]:
        quantile.replace(exp.PercentileDisc(this=quantile.this, expression=quantile.args["quantile"]))
    return tree


def _rename(tree: exp.Expr) -> None:
    for node in list(tree.find_all(exp.Anonymous)):
        found = _renamed(node)
        if found is not node:
            found.meta.update(node.meta)
            node.replace(found)
            _rename(found)


def _renamed(node: exp.Anonymous) -> exp.Expr:
    name, arguments = node.name.lower(), node.expressions
    if name in MACROS and len(MACROS[name][0]) == len(arguments):
        return _expanded(name, arguments)
    if name == "count_star" and not arguments:
        return exp.Count(this=exp.Star(), big_int=True)
    main = ALIASES.get(name)
    if main in _OPERATORS and len(arguments) == 2:
        left, right = (exp.paren(a, copy=False) if isinstance(a, exp.Binary) else a for a in arguments)
        return exp.paren(_OPERATORS[main](this=left, expression=right))
    return exp.func(main, *arguments, dialect="duckdb") if main is not None and main not in _OPERATORS else node


def _expanded(name: str, arguments: list[exp.Expr]) -> exp.Expr:
    parameters, _ = MACROS[name]
    given = dict(zip(parameters, arguments, strict=True))
    body = exp.paren(_parsed(name).copy(), copy=False)
    for column in list(body.find_all(exp.Column)):
        if not column.table and column.name in given:
            value = given[column.name].copy()
            column.replace(exp.paren(value, copy=False) if isinstance(value, exp.Binary) else value)
    return body.this if isinstance(body.this, (exp.Func, exp.Paren)) else body


@functools.cache
def _parsed(name: str) -> exp.Expr:
    return sqlglot.parse_one(MACROS[name][1], read="duckdb")
