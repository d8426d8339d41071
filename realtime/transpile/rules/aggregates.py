"""Aggregates, each as components that a state table can keep (``-State``) and a formula over their merged values.

The components, in the order of the table in `SPECS`, are exactly what an `AggregatingMergeTree` stores; what is
not exact over states in any order of batches is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form, number
from realtime.transpile.lower import Lower, Rule, name_of, refused, rule, type_of
from realtime.transpile.rules import quantiles, statistics
from realtime.transpile.rules.arithmetic import double
from realtime.transpile.rules.casts import converted
from realtime.transpile.rules.components import (
    Aggregate,
    Call,
    Component,
    Over,
    Spec,
    nullable,
    rank,
    ranking,
    valued,
)  # fmt: skip
from realtime.transpile.rules.order import INCOMPARABLE, UNORDERED
from realtime.transpile.types import HUGEINT, INTEGERS, NESTED, VARCHAR, DuckType, Kind, duck_type


def aggregate(lower: Lower, node: exp.Expr, over: Over | None = None) -> exp.Expr:
    """The ClickHouse form of an aggregate call with its FILTER; ``over`` makes each component a window call.

    Outside windows the components carry ``meta["component"]``, by which the planner finds them.
    """
    found, spec = _taken_apart(node), _specified(lower, node)
    filtered = lower.condition(found.condition) if found.condition is not None else None
    calls = [_call(c, filtered) for c in spec.components]
    if over is not None:
        return spec.finish(*(over(c) for c in calls))
    for c in calls:
        c.meta["component"] = True
    return spec.finish(*calls)


def over_list(lower: Lower, node: exp.Expr, inner: exp.Expr, items: exp.Expr) -> exp.Expr:
    """The aggregate call ``inner``, whose argument stands for an element, over the list ``items`` (in ClickHouse)."""
    spec = _specified(lower, inner)

    def reduced(component: Component) -> exp.Expr:
        if "groupUniqArray" in component.function or not component.arguments:
            raise refused(node, f"{name_of(inner)} of a list", remedy="unnest it and aggregate")
        kept = items
        if component.condition is not None:
            kept = form("arrayFilter(_v -> ifNull(c, 0), a)", c=component.condition, a=items)
        values = [form("arrayMap(_v -> x, a)", x=x, a=kept) for x in component.arguments]
        return call("arrayReduce", component.function, *values)

    return spec.finish(*map(reduced, spec.components))


def _specified(lower: Lower, node: exp.Expr) -> Aggregate:
    found = _taken_apart(node)
    named = isinstance(found.node, exp.Anonymous)
    build = NAMED.get(found.node.name.lower()) if named else SPECS.get(type(found.node))
    if build is None:
        raise lower.unknown(found.node)
    return build(lower, found)


def _call(component: Component, filtered: exp.Expr | None) -> exp.Expr:
    conditions = [c for c in (filtered, component.condition) if c is not None]
    if not conditions:
        return call(component.function, *component.arguments)
    kept = call("ifNull", exp.and_(*(exp.paren(c) for c in conditions), copy=True), 0)
    return call(component.function + "If", *component.arguments, kept)


def _taken_apart(node: exp.Expr) -> Call:
    condition, within_group, inner = None, None, node
    while isinstance(inner, (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)):
        if isinstance(inner, exp.Filter):
            condition = inner.expression.this
        elif isinstance(inner, exp.WithinGroup):
            within_group = inner.expression
        else:
            raise refused(node, f"{inner.key} of an aggregate", remedy="use FILTER (WHERE x IS NOT NULL)")
        inner = inner.this
    _check_arguments(inner)
    value = inner.expressions[0] if isinstance(inner, exp.Anonymous) else inner.this
    order, distinct = within_group, False
    while isinstance(value, (exp.Distinct, exp.Order)):
        if isinstance(value, exp.Distinct):
            distinct, value = True, value.expressions[0] if len(value.expressions) == 1 else value
            if isinstance(value, exp.Distinct):
                break
        else:
            order, value = value, value.this
    keys = tuple(order.expressions) if order is not None else ()
    return Call(inner, value, distinct, keys, condition)


_ARGUMENTS = frozenset({"this", "expression", "expressions", "big_int", "separator", "is_distinct", "nulls_excluded"})


def _check_arguments(node: exp.Expr) -> None:
    unknown = {k for k, v in node.args.items() if v not in (None, False, [])} - _ARGUMENTS
    if unknown:
        raise refused(node, f"{', '.join(sorted(unknown))} of {name_of(node)} has no exact form")


def _count(lower: Lower, found: Call) -> Aggregate:
    value = found.value
    if value is None or isinstance(value, exp.Star):
        return Aggregate((Component("count"),), _as_bigint)
    if found.node.expressions:
        raise refused(found.node, "count of several columns", remedy="count one column, or DISTINCT of a row (a, b)")
    if isinstance(value, exp.Distinct):
        raise refused(found.node, "count(DISTINCT a, b)", remedy="count a row: count(DISTINCT (a, b))")
    if found.distinct and isinstance(value, exp.Tuple):
        parts = [nullable(lower.canonical(x)) for x in value.expressions]
        return Aggregate((Component("uniqExact", (call("tuple", *parts),)),), _as_bigint)
    if type_of(value).kind is Kind.NULL:
        return Aggregate((Component("count", (cast(exp.null(), "Nullable(String)"),)),), _as_bigint)
    if found.distinct:
        return Aggregate((Component("uniqExact", (valued(lower.canonical(value), type_of(value)),)),), _as_bigint)
    return Aggregate((Component("count", (valued(lower(value), type_of(value)),)),), _as_bigint)


def _as_bigint(x: exp.Expr) -> exp.Expr:
    return call("toInt64", x)


def _count_if(lower: Lower, found: Call) -> Aggregate:
    flag = call("toUInt8", lower.condition(found.value))
    return Aggregate((Component("sum", (cast(flag, HUGEINT.clickhouse),)),))


def _sum(lower: Lower, found: Call) -> Aggregate:
    kind = type_of(found.value)
    name = "sum" + found.suffix
    if kind.kind in (Kind.INTEGER, Kind.BOOLEAN):
        if kind == HUGEINT:
            wide = call("toInt256", lower(found.value))
            return Aggregate((Component(name, (wide,)),), lambda x: call("accurateCast", x, HUGEINT.clickhouse))
        return Aggregate((Component(name, (_whole(lower, found.value),)),))
    if kind.kind is Kind.DECIMAL:
        total = Component(name, (_wide_decimal(lower, found.value),))
        return Aggregate((total,), lambda x: _fit_decimal(x, kind.scale))
    if kind.kind is Kind.FLOAT:
        return Aggregate((Component(name, (nullable(double(lower, found.value)),)),))
    raise refused(found.node, f"sum of {kind}", remedy="cast it to a number")


def _whole(lower: Lower, value: exp.Expr) -> exp.Expr:
    """An integer or boolean as HUGEINT, in which DuckDB sums."""
    lowered = lower(value)
    if type_of(value).kind is Kind.BOOLEAN:
        lowered = call("toUInt8", lowered)
    return cast(lowered, HUGEINT.clickhouse)


def _wide_decimal(lower: Lower, value: exp.Expr) -> exp.Expr:
    return cast(lower(value), f"Nullable(Decimal(76, {type_of(value).scale}))")


def _fit_decimal(x: exp.Expr, scale: int) -> exp.Expr:
    fitted = converted(x, duck_type(f"DECIMAL(76,{scale})"), duck_type(f"DECIMAL(38,{scale})"), False)
    assert fitted is not None
    return fitted


def _avg(lower: Lower, found: Call) -> Aggregate:
    value, kind = found.value, type_of(found.value)
    counted = "uniqExact" if found.distinct else "count"
    number_of = Component(counted, (nullable(lower.canonical(value)),))
    name = "sum" + found.suffix
    if kind.kind in (Kind.INTEGER, Kind.BOOLEAN):
        whole = Component(name, (_whole(lower, value),))
        return Aggregate((whole, number_of), lambda s, n: form("toFloat64(s) / nullIf(n, 0)", s=s, n=n))
    if kind.kind is Kind.DECIMAL:
        return Aggregate((Component(name, (_wide_decimal(lower, value),)), number_of), _decimal_average(found, kind))
    if kind.kind is Kind.FLOAT:
        total = Component(name, (double(lower, value),))
        return Aggregate((total, number_of), lambda s, n: form("s / nullIf(n, 0)", s=s, n=n))
    raise refused(found.node, f"avg of {kind}", remedy="cast it to a number")


def _decimal_average(found: Call, kind: DuckType) -> Callable[..., exp.Expr]:
    """DuckDB writes an average that is neither grouped, filtered nor over a window as sum / count; the last bit
    differs. Of a grouped one see `realtime.transpile.origins.unsteady_average`."""
    select = found.node.find_ancestor(exp.Select)
    grouped = select is not None and select.args.get("group") is not None
    by_itself = grouped or found.distinct or isinstance(found.node.parent, (exp.Filter, exp.Window))
    unit, unit_float = number(10**kind.scale), exp.Literal.number(f"{10**kind.scale}.")
    template = "toFloat64(toInt256(s * unit)) / unitf / nullIf(n, 0)"
    if by_itself:
        template = "toFloat64(toInt256(s * unit)) / (toFloat64(nullIf(n, 0)) * unitf)"
    return lambda s, n: form(template, s=s, n=n, unit=unit, unitf=unit_float)


def _extreme(name: str) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        kind = type_of(found.value)
        if kind.kind in (*UNORDERED, Kind.NULL) or found.node.expressions:
            by_order = kind.kind is Kind.ENUM and not found.node.expressions
            remedy = f"write arg_{name}(x, x)" if by_order else f"take {name} of a cast or a field"
            raise refused(found.node, f"{name} of {kind}", remedy=remedy)
        x = lower(found.value)
        if kind.kind is Kind.BOOLEAN:
            return Aggregate((Component(name, (cast(x, "Nullable(UInt8)"),)),))
        if kind.kind is Kind.FLOAT:
            pair = call("tuple", call("isNaN", x), nullable(x))
            return Aggregate((Component(name, (pair,), call("isNotNull", x)),), lambda v: call("tupleElement", v, 2))
        return Aggregate((Component(name, (nullable(x),)),))

    return build


def _logical(name: str) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        flag = cast(lower.condition(found.value), "Nullable(UInt8)")
        return Aggregate((Component(name, (flag,)),), lambda x: cast(x, "Nullable(Bool)"))

    return build


def _arg_extreme(name: str) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        key = found.node.expression
        if isinstance(key, exp.Tuple) and not any(type_of(k).kind in INCOMPARABLE for k in key.expressions):
            ranked = rank(lower, tuple(exp.Ordered(this=k) for k in key.expressions), "isNull")
            return Aggregate((Component(name, (nullable(lower(found.value)), ranked)),))
        if type_of(key).kind in INCOMPARABLE or type_of(found.value).kind in NESTED:
            raise refused(found.node, f"{name} by {type_of(key)}", remedy="order by a number, text or time")
        value, by = lower(found.value), ranking(lower, key)
        if type_of(key).kind is not Kind.FLOAT:
            return Aggregate((Component(name, (nullable(value), nullable(by))),))
        known = form("isNotNull(by) AND isNotNull(value)", by=by, value=value)
        ranked = call("tuple", call("isNaN", by), nullable(by))
        return Aggregate((Component(name, (nullable(value), ranked), known),))

    return build


def _arg_null(name: str) -> Spec:
    """``arg_max_null``: the value may be NULL, of which ``arg_max`` looks for another."""

    def build(lower: Lower, found: Call) -> Aggregate:
        value, key = found.node.expressions
        if type_of(key).kind in INCOMPARABLE or type_of(value).kind in NESTED:
            raise refused(
                found.node, f"{name_of(found.node)} by {type_of(key)}", remedy="order by a number, text or time"
            )
        by = ranking(lower, key)
        ranked = call("tuple", call("isNaN", by), nullable(by)) if type_of(key).kind is Kind.FLOAT else nullable(by)
        part = Component(name, (call("tuple", nullable(lower(value))), ranked), call("isNotNull", by))
        return Aggregate((part,), lambda v: call("tupleElement", v, 1))

    return build


def _bitwise(name: str) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        kind = type_of(found.value)
        if kind.kind is not Kind.INTEGER:
            raise refused(found.node, f"{name} of {kind}", remedy="cast it to an integer")
        unsigned = INTEGERS[kind.name][0] if kind.name.startswith("U") else "U" + INTEGERS[kind.name][0]
        x = cast(lower(found.value), f"Nullable({unsigned})")
        parts = (Component(name, (x,)), Component("count", (x,)))
        return Aggregate(parts, lambda v, n: form("if(n = 0, NULL, v)", n=n, v=cast(v, kind.clickhouse)))

    return build


def _any_value(lower: Lower, found: Call) -> Aggregate:
    """The first value that is not NULL."""
    spec = _first(True)(lower, found)
    (part,) = spec.components
    return Aggregate((dataclasses.replace(part, condition=call("isNotNull", lower(found.value))),), spec.finish)


def _first(first: bool) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        name = name_of(found.node)
        if not found.order:
            raise refused(
                found.node, f"{name} without ORDER BY depends on chance", remedy=f"write {name}(x ORDER BY key)"
            )
        if type_of(found.value).kind in NESTED:
            raise refused(found.node, f"{name} of {type_of(found.value)}", remedy="take one of its elements or fields")
        descending = _direction(found)
        newest = descending == first
        payload = call("tuple", nullable(lower(found.value)))
        by = rank(lower, found.order, "isNotNull" if descending else "isNull")
        part = Component("argMax" if newest else "argMin", (payload, by))
        return Aggregate((part,), lambda v: call("tupleElement", v, 1))

    return build


def _direction(found: Call) -> bool:
    """Whether all keys of ORDER BY go down; RefusedError where they are mixed."""
    directions = {bool(k.args.get("desc")) for k in found.order}
    nulls = any(k.args.get("nulls_first") for k in found.order)
    unordered = any(type_of(k.this).kind in INCOMPARABLE for k in found.order)
    # Equal floats are not the same bytes, which DISTINCT goes by.
    floats = found.distinct and any(type_of(k.this).kind is Kind.FLOAT for k in found.order)
    if len(directions) > 1 or nulls or unordered or floats:
        raise refused(found.node, "ORDER BY of this form in an aggregate", remedy="order all keys one way, NULLS LAST")
    return directions.pop()


def _list(lower: Lower, found: Call) -> Aggregate:
    select = found.node.find_ancestor(exp.Select)
    if found.condition is not None or select is None or not select.args.get("group"):
        raise refused(
            found.node, f"{name_of(found.node)} of no rows is NULL, and ClickHouse has no NULL list",
            remedy="group by a key, without FILTER",
        )  # fmt: skip
    return _ordered_list(lower, found, lower(found.value), None)


def _string_agg(lower: Lower, found: Call) -> Aggregate:
    separator = found.node.args.get("separator")
    between = lower(separator) if separator is not None else exp.Literal.string(",")
    shown = lower.to(found.value, VARCHAR)
    spec = _ordered_list(lower, found, shown, call("isNotNull", shown))
    joined = "if(empty(a), NULL, arrayStringConcat(items, separator))"
    return Aggregate(spec.components, lambda a: form(joined, a=a, items=spec.finish(a), separator=between))


def _ordered_list(lower: Lower, found: Call, shown: exp.Expr, condition: exp.Expr | None) -> Aggregate:
    by_itself = len(found.order) == 1 and found.order[0].this == found.value
    if not found.order or (found.distinct and not by_itself):
        raise refused(
            found.node,
            f"{name_of(found.node)} without an order, or DISTINCT by another, depends on chance",
            remedy="write list(x ORDER BY key), or list(DISTINCT x ORDER BY x)",
        )
    descending = _direction(found)
    by = rank(lower, found.order, "isNotNull" if descending else "isNull")
    collect = "groupUniqArray" if found.distinct else "groupArray"
    kind = type_of(found.value) if condition is None else VARCHAR
    part = Component(collect, (call("tuple", by, valued(shown, kind)),), condition)
    sort = "arrayReverseSort" if descending else "arraySort"
    template = f"arrayMap(_p -> tupleElement(_p, 2), {sort}(_p -> tupleElement(_p, 1), a))"
    return Aggregate((part,), lambda a: form(template, a=a))


SPECS: dict[type[exp.Expr], Spec] = {
    **quantiles.SPECS,
    **statistics.SPECS,
    exp.Count: _count,
    exp.CountIf: _count_if,
    exp.Sum: _sum,
    exp.Avg: _avg,
    exp.Min: _extreme("min"),
    exp.Max: _extreme("max"),
    exp.LogicalOr: _logical("max"),
    exp.LogicalAnd: _logical("min"),
    exp.ArgMax: _arg_extreme("argMax"),
    exp.ArgMin: _arg_extreme("argMin"),
    exp.BitwiseAndAgg: _bitwise("groupBitAnd"),
    exp.BitwiseOrAgg: _bitwise("groupBitOr"),
    exp.BitwiseXorAgg: _bitwise("groupBitXor"),
    exp.First: _first(True),
    exp.Last: _first(False),
    exp.ArrayAgg: _list,
    exp.GroupConcat: _string_agg,
    exp.AnyValue: _any_value,
}
NAMED: dict[str, Spec] = {
    **quantiles.NAMED,
    **statistics.NAMED,
    "arg_max_null": _arg_null("argMax"),
    "arg_min_null": _arg_null("argMin"),
}
"""Aggregates that sqlglot has no node for."""


def _build(lower: Lower, node: exp.Expr) -> exp.Expr:
    return aggregate(lower, node)


_EVERY = "big_int separator nulls_excluded count"
FUNCTIONS: dict[str, Rule] = {name: rule(_build) for name in NAMED}
RULES: dict[type[exp.Expr], Rule] = {
    **{kind: rule(_build, _EVERY) for kind in (*SPECS, exp.Filter, exp.WithinGroup)},
}
