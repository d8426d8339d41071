"""CASE, IF, COALESCE, NULLIF, GREATEST and LEAST: every branch in the common type that DuckDB finds."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.rules.basics import is_empty_otherwise
from realtime.transpile.rules.casts import constant
from realtime.transpile.rules.order import UNORDERED
from realtime.transpile.types import BOOLEAN, NESTED, DuckType, Kind

_NULL_TEXT = "Nullable(String)"


def _case(lower: Lower, node: exp.Case) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.NULL:
        return cast(exp.null(), _NULL_TEXT)
    arguments: list[exp.Expr] = []
    for branch in node.args["ifs"]:
        arguments += [lower.condition(branch.this), as_type(lower, branch.args["true"], found)]
    default = node.args.get("default")
    arguments.append(as_type(lower, default, found) if default is not None else _missing(node, found))
    return call("multiIf", *arguments)


def as_type(lower: Lower, node: exp.Expr, target: DuckType) -> exp.Expr:
    """``node`` as ``target``; a literal is converted now."""
    temporal = target.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ)
    if isinstance(node, exp.Literal) and node.is_string and temporal:
        return constant(lower, node, target)
    return lower.to(node, target)


def _missing(node: exp.Expr, found: DuckType) -> exp.Expr:
    if found.kind in NESTED:
        raise refused(node, f"ClickHouse has no NULL of type {found}", remedy="write an ELSE")
    return exp.null()


def _if(lower: Lower, node: exp.If) -> exp.Expr:
    found, other = type_of(node), node.args.get("false")
    otherwise = as_type(lower, other, found) if other is not None else _missing(node, found)
    return call("if", lower.condition(node.this), as_type(lower, node.args["true"], found), otherwise)


def _coalesce(lower: Lower, node: exp.Coalesce) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.NULL:
        return cast(exp.null(), _NULL_TEXT)
    if found.kind is Kind.LIST and type_of(node.this) == found and is_empty_otherwise(node):
        # What a join leaves NULL in DuckDB is empty in ClickHouse, and no other list is NULL.
        return lower(node.this)
    if found.kind in NESTED:
        raise refused(node, f"ClickHouse has no NULL of type {found}", remedy="drop the coalesce")
    return call("coalesce", *(as_type(lower, x, found) for x in [node.this, *node.expressions]))


def _null_if(lower: Lower, node: exp.Nullif) -> exp.Expr:
    equal = exp.EQ(this=node.this.copy(), expression=node.expression.copy())
    equal.meta["duck"] = BOOLEAN
    return form("if(equal, NULL, x)", equal=lower(equal), x=lower(node.this))


def _extreme(function: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        found = type_of(node)
        if found.kind in UNORDERED:
            raise refused(node, f"{found} is ordered otherwise in ClickHouse", remedy="compare a cast or a field")
        values = [as_type(lower, x, found) for x in [node.this, *node.expressions]]
        if found.kind is Kind.FLOAT:
            return _extreme_float(function, values)
        return call(function, *values)

    return build


def _extreme_float(function: str, values: list[exp.Expr]) -> exp.Expr:
    """NaN is above every number."""
    if function == "greatest":
        nan = exp.or_(*(form("ifNull(isNaN(x), 0)", x=v) for v in values))
        return form("if(c, nan, x)", c=nan, x=call("greatest", *values))
    numbers = call("least", *(form("if(isNaN(x), NULL, x)", x=v) for v in values))
    nulls = exp.and_(*(call("isNull", v) for v in values))
    return form("ifNull(x, if(c, NULL, nan))", x=numbers, c=nulls)


RULES: dict[type[exp.Expr], Rule] = {
    exp.Case: rule(_case, "ifs default"),
    exp.If: rule(_if, "true false"),
    exp.Coalesce: rule(_coalesce, "is_nvl is_null"),
    exp.Nullif: rule(_null_if),
    exp.Greatest: rule(_extreme("greatest"), "ignore_nulls"),
    exp.Least: rule(_extreme("least"), "ignore_nulls"),
}
