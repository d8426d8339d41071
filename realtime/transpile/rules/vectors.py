"""Distances of arrays (vectors) of FLOATs, added up in DOUBLE.

DuckDB adds up FLOATs in single precision, whose last digits depend on whether its build multiplies and adds in one
step. In DOUBLE the product of two FLOATs is exact, and both engines add one product after the other: inner products
and cosines are the same to the last bit (tried with up to 1,536 numbers, from the least to the greatest). ClickHouse's
own functions, `cosineDistance` among them, add up several at a time, which gives other last digits. The square of a
difference is rounded: distances agree within 1e-15.

All DOUBLE arrays are casts of FLOAT arrays: no source, parameter or published model has any, and casts of lists are
refused. So nothing overflows, and what is no number in DuckDB is none here.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import form
from realtime.transpile.lower import Lower, Rule, name_of, refused, rule, type_of
from realtime.transpile.rules.casts import is_parameter
from realtime.transpile.types import Kind

# Widened number by number: as arrays it takes a third longer.
_PRODUCT = "arraySum(arrayMap((_x, _y) -> toFloat64(_x) * toFloat64(_y), l, r))"
_SQUARES = "arraySum(arrayMap(_x -> toFloat64(_x) * toFloat64(_x), {side}))"
_COSINE = f"{_PRODUCT} / sqrt({_SQUARES.format(side='l')} * {_SQUARES.format(side='r')})"
# Rounding takes a cosine beyond 1. The least of NaN and 1 is 1 in ClickHouse, where it is compiled in any order.
_SIMILARITY = f"multiIf({_COSINE} > 1., 1., {_COSINE} < -1., -1., {_COSINE})"
_FORMS = {
    "array_inner_product": _PRODUCT,
    "array_negative_inner_product": f"-{_PRODUCT}",
    "array_cosine_similarity": _SIMILARITY,
    "array_cosine_distance": f"1. - {_SIMILARITY}",
    "array_distance": "sqrt(arraySum(arrayMap((_x, _y) -> (toFloat64(_x) - _y) * (toFloat64(_x) - _y), l, r)))",
}


def _over(template: str) -> Callable[[Lower, exp.Anonymous], exp.Expr]:
    def build(lower: Lower, node: exp.Anonymous) -> exp.Expr:
        sides = node.expressions
        found = next((type_of(side) for side in sides if type_of(side).kind is Kind.ARRAY), None)
        if len(sides) != 2 or found is None:
            raise refused(node, "its arguments are no arrays", remedy="see docs/lambdas.md, The nearest vectors")
        if type_of(node).name != "DOUBLE":
            raise refused(
                node,
                "FLOATs are added up in single precision, in which the last digits depend on the machine",
                remedy=f"widen one side: {name_of(node)}({_side(sides[0])}::double[{found.size}], …)",
            )
        left, right = (lower(_narrow(side)) for side in sides)
        return form(template, l=left, r=right)

    return build


def _narrow(node: exp.Expr) -> exp.Expr:
    """``node`` without a cast that widens it."""
    inner = node.unnest()
    is_wider = isinstance(inner, exp.Cast) and not is_parameter(inner.this) and type_of(inner.this).kind is Kind.ARRAY
    return _narrow(inner.this) if is_wider else inner


def _side(node: exp.Expr) -> str:
    return node.name if isinstance(node, exp.Column) else "x"


FUNCTIONS: dict[str, Rule] = {name: rule(_over(template)) for name, template in _FORMS.items()}
