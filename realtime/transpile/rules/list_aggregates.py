"""Aggregates of the elements of a list: ``list_aggregate(l, 'sum')``, ``list_sum(l)`` and the others."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import form
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.rules.aggregates import over_list
from realtime.transpile.types import NESTED, Kind

_IN_ORDER = {
    # Those that go by the list's own order.
    "first": "arrayElementOrNull(a, 1)",
    "last": "arrayElementOrNull(a, -1)",
    "any_value": "arrayElementOrNull(arrayFilter(_v -> isNotNull(_v), a), 1)",
}
_NAMES = frozenset(
    (
        *("avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "count", "mad", "max", "median", "min"),
        *("product", "sem", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp"),
    )
)


def _aggregate(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    items, called = node.expressions[0], node.expressions[1]
    found, name = type_of(items), called.name.lower()
    if not isinstance(called, exp.Literal) or len(node.expressions) > 2 or found.kind is not Kind.LIST:
        raise refused(node, "an aggregate of a list whose name is no constant", remedy="write list_sum(l), say")
    if name in _IN_ORDER:
        if found.item.kind in NESTED:
            raise refused(node, "an element that is a list or a struct may be NULL", remedy="unnest it")
        return form(_IN_ORDER[name], a=lower(items))
    if name not in _NAMES or found.item.kind is Kind.DECIMAL:
        raise refused(node, f"{name} of {found}", remedy="unnest it and aggregate, or cast it to DOUBLE[]")
    element = exp.Column(this=exp.to_identifier("_v"))
    element.meta["duck"] = found.item
    inner = exp.func(name, element, dialect="duckdb")
    exp.Lambda(this=inner, expressions=[exp.to_identifier("_v")])
    return over_list(lower, node, inner, lower(items))


FUNCTIONS: dict[str, Rule] = {"list_aggregate": rule(_aggregate)}
