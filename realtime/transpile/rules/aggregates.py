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
from realtime.transpile.rules.arithmetic import double
from realtime.transpile.rules.casts import converted
from realtime.transpile.rules.order import comparable_uuid
from realtime.transpile.types import HUGEINT, INTEGERS, VARCHAR, DuckType, Kind, duck_type

Over = Callable[[exp.Expr], exp.Expr]
_UNORDERED = (Kind.LIST, Kind.STRUCT, Kind.MAP, Kind.JSON, Kind.INTERVAL)


@dataclasses.dataclass(frozen=True)
class Component:
    """One ClickHouse aggregate call; rows where ``condition`` does not hold are left out."""

    function: str
    arguments: tuple[exp.Expr, ...] = ()
    condition: exp.Expr | None = None


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """Components, and the value made of their results."""

    components: tuple[Component, ...]
    finish: Callable[..., exp.Expr] = lambda x: x


@dataclasses.dataclass(frozen=True)
class Call:
    """An aggregate call taken apart: ``value`` is its first argument, ``order`` the keys of its ORDER BY."""

    node: exp.Expr
    value: exp.Expr
    distinct: bool
    order: tuple[exp.Ordered, ...]
    condition: exp.Expr | None

    @property
    def suffix(self) -> str:
        """The combinator for DISTINCT."""
        return "Distinct" if self.distinct else ""


def aggregate(lower: Lower, node: exp.Expr, over: Over | None = None) -> exp.Expr:
    """The ClickHouse form of an aggregate call with its FILTER; ``over`` makes each component a window call.

    Outside windows the components carry ``meta["component"]``, by which the planner finds them.
    """
    found = _taken_apart(node)
    build = SPECS.get(type(found.node))
    if build is None:
        raise refused(node, f"aggregate {name_of(found.node)} has no exact form", remedy="see docs/sql.md")
    spec = build(lower, found)
    filtered = lower.condition(found.condition) if found.condition is not None else None
    calls = [_call(c, filtered) for c in spec.components]
    if over is not None:
        return spec.finish(*(over(c) for c in calls))
    for c in calls:
        c.meta["component"] = True
    return spec.finish(*calls)


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


def _nullable(x: exp.Expr) -> exp.Expr:
    return call("toNullable", x)


def _count(lower: Lower, found: Call) -> Aggregate:
    value = found.value
    if value is None or isinstance(value, exp.Star):
        return Aggregate((Component("count"),), _as_bigint)
    if found.node.expressions:
        raise refused(found.node, "count of several columns", remedy="count one column, or DISTINCT of a row (a, b)")
    if isinstance(value, exp.Distinct):
        raise refused(found.node, "count(DISTINCT a, b)", remedy="count a row: count(DISTINCT (a, b))")
    if found.distinct and isinstance(value, exp.Tuple):
        parts = [_nullable(lower.canonical(x)) for x in value.expressions]
        return Aggregate((Component("uniqExact", (call("tuple", *parts),)),), _as_bigint)
    if type_of(value).kind is Kind.NULL:
        return Aggregate((Component("count", (cast(exp.null(), "Nullable(String)"),)),), _as_bigint)
    if found.distinct:
        return Aggregate((Component("uniqExact", (_nullable(lower.canonical(value)),)),), _as_bigint)
    return Aggregate((Component("count", (_nullable(lower(value)),)),), _as_bigint)


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
        return Aggregate((Component(name, (_nullable(double(lower, found.value)),)),))
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
    number_of = Component(counted, (_nullable(lower.canonical(value)),))
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
        if kind.kind in (*_UNORDERED, Kind.UUID, Kind.NULL) or found.node.expressions:
            raise refused(found.node, f"{name} of {kind}", remedy=f"take {name} of a cast or a field")
        x = lower(found.value)
        if kind.kind is Kind.BOOLEAN:
            return Aggregate((Component(name, (cast(x, "Nullable(UInt8)"),)),))
        if kind.kind is Kind.FLOAT:
            pair = call("tuple", call("isNaN", x), _nullable(x))
            return Aggregate((Component(name, (pair,), call("isNotNull", x)),), lambda v: call("tupleElement", v, 2))
        return Aggregate((Component(name, (_nullable(x),)),))

    return build


def _logical(name: str) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        flag = cast(lower.condition(found.value), "Nullable(UInt8)")
        return Aggregate((Component(name, (flag,)),), lambda x: cast(x, "Nullable(Bool)"))

    return build


def _arg_extreme(name: str) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        key = found.node.expression
        if isinstance(key, exp.Tuple) and not any(type_of(k).kind in _UNORDERED for k in key.expressions):
            rank = _rank(lower, tuple(exp.Ordered(this=k) for k in key.expressions), "isNull")
            return Aggregate((Component(name, (_nullable(lower(found.value)), rank)),))
        if type_of(key).kind in _UNORDERED or type_of(found.value).kind in (Kind.LIST, Kind.STRUCT, Kind.MAP):
            raise refused(found.node, f"{name} by {type_of(key)}", remedy="order by a number, text or time")
        value, by = lower(found.value), _comparable(lower, key)
        if type_of(key).kind is not Kind.FLOAT:
            return Aggregate((Component(name, (_nullable(value), _nullable(by))),))
        known = form("isNotNull(by) AND isNotNull(value)", by=by, value=value)
        rank = call("tuple", call("isNaN", by), _nullable(by))
        return Aggregate((Component(name, (_nullable(value), rank), known),))

    return build


def _deviation(name: str, least: int) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        x = double(lower, found.value)
        parts = (Component(name, (x,)), Component("count", (x,)))
        return Aggregate(parts, lambda v, n: form("if(n < least, NULL, v)", n=n, v=v, least=least))

    return build


def _of_pairs(name: str, finish: str) -> Callable[[Lower, Call], Aggregate]:
    """Statistics of the pairs without NULL; ``finish`` makes the value of ``v`` and the number ``n`` of pairs."""

    def build(lower: Lower, found: Call) -> Aggregate:
        x, y = double(lower, found.node.this), double(lower, found.node.expression)
        both = form("if(isNull(x), NULL, y)", x=x, y=y)
        parts = (Component(name, (x, y)), Component("count", (both,)))
        return Aggregate(parts, lambda v, n: form(finish, n=n, v=v))

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


def _median(lower: Lower, found: Call) -> Aggregate:
    return _continuous(lower, found, found.value, 0.5)


def _quantile_cont(lower: Lower, found: Call) -> Aggregate:
    return _continuous(lower, found, *_quantile(found))


def _quantile(found: Call) -> tuple[exp.Expr, float]:
    """The value and the fraction: ``quantile_cont(x, 0.9)`` or ``percentile_cont(0.9) WITHIN GROUP (ORDER BY x)``."""
    fraction, value = found.node.expression, found.value
    if found.order:
        if found.order[0].args.get("desc"):
            raise refused(found.node, "WITHIN GROUP (ORDER BY … DESC)", remedy="order ascending, by 1 - fraction")
        fraction, value = found.value, found.order[0].this
    if not isinstance(fraction, exp.Literal) or found.distinct:
        raise refused(found.node, "a quantile whose fraction is no number", remedy="write quantile_cont(x, 0.9)")
    return value, float(fraction.name)


def _continuous(lower: Lower, found: Call, value: exp.Expr, fraction: float) -> Aggregate:
    kind = type_of(value)
    if kind.kind is Kind.DECIMAL and kind.precision <= 18 and not found.distinct:
        return _continuous_decimal(lower, value, kind, fraction)
    if kind.kind not in (Kind.INTEGER, Kind.FLOAT) or found.distinct:
        raise refused(found.node, f"a continuous quantile of {kind}", remedy="cast it to DOUBLE")
    template = """if(empty(a), NULL, if(floor(r) = ceil(r), arrayElement(sorted, toInt64(floor(r)) + 1),
        arrayElement(sorted, toInt64(floor(r)) + 1) * (1. - (r - floor(r)))
        + arrayElement(sorted, toInt64(ceil(r)) + 1) * (r - floor(r))))"""

    def finish(a: exp.Expr) -> exp.Expr:
        ordered = form("arraySort(_v -> (isNaN(_v), _v), a)", a=a)
        place = form("((length(a) - 1) * p)", a=a, p=exp.Literal.number(repr(fraction)))
        return form(template, a=a, r=place, sorted=ordered)

    return Aggregate((Component("groupArray", (double(lower, value),)),), finish)


def _continuous_decimal(lower: Lower, value: exp.Expr, kind: DuckType, fraction: float) -> Aggregate:
    """Between two of the smallest units, towards zero, as DuckDB computes on what it stores."""
    template = """if(empty(a), NULL, toDecimal128(toInt64(trunc(toFloat64(arrayElement(sorted, low + 1))
        + toFloat64(arrayElement(sorted, least(low + 2, length(a))) - arrayElement(sorted, low + 1))
        * (r - low))), scale) / unit)"""

    def finish(a: exp.Expr) -> exp.Expr:
        place = form("((length(a) - 1) * p)", a=a, p=exp.Literal.number(repr(fraction)))
        low, sorted_ = form("toInt64(floor(r))", r=place), call("arraySort", a)
        shown = form(template, a=a, r=place, low=low, sorted=sorted_, scale=kind.scale, unit=number(10**kind.scale))
        return cast(shown, kind.clickhouse)

    units = call(
        "toInt64", form("toDecimal256(x, scale) * unit", x=lower(value), scale=kind.scale, unit=number(10**kind.scale))
    )
    return Aggregate((Component("groupArray", (units,)),), finish)


def _quantile_disc(lower: Lower, found: Call) -> Aggregate:
    value, fraction = _quantile(found)
    if type_of(value).kind in (*_UNORDERED, Kind.UUID, Kind.BOOLEAN, Kind.FLOAT):
        raise refused(found.node, f"a discrete quantile of {type_of(value)}", remedy="cast it to a number or text")
    template = """arrayElementOrNull(arraySort(a),
        greatest(1, length(a) - toInt64(floor(length(a) - length(a) * p))))"""
    part = Component("groupArray", (_nullable(lower(value)),))
    return Aggregate((part,), lambda a: form(template, a=a, p=exp.Literal.number(repr(fraction))))


def _first(first: bool) -> Callable[[Lower, Call], Aggregate]:
    def build(lower: Lower, found: Call) -> Aggregate:
        name = name_of(found.node)
        if not found.order:
            raise refused(
                found.node, f"{name} without ORDER BY depends on chance", remedy=f"write {name}(x ORDER BY key)"
            )
        if type_of(found.value).kind in (Kind.LIST, Kind.STRUCT, Kind.MAP):
            raise refused(found.node, f"{name} of {type_of(found.value)}", remedy="take one of its elements or fields")
        descending = _direction(found)
        newest = descending == first
        payload = call("tuple", _nullable(lower(found.value)))
        by = _rank(lower, found.order, "isNotNull" if descending else "isNull")
        part = Component("argMax" if newest else "argMin", (payload, by))
        return Aggregate((part,), lambda v: call("tupleElement", v, 1))

    return build


def _direction(found: Call) -> bool:
    """Whether all keys of ORDER BY go down; RefusedError where they are mixed."""
    directions = {bool(k.args.get("desc")) for k in found.order}
    nulls = any(k.args.get("nulls_first") for k in found.order)
    unordered = any(type_of(k.this).kind in _UNORDERED for k in found.order)
    # Equal floats are not the same bytes, which DISTINCT goes by.
    floats = found.distinct and any(type_of(k.this).kind is Kind.FLOAT for k in found.order)
    if len(directions) > 1 or nulls or unordered or floats:
        raise refused(found.node, "ORDER BY of this form in an aggregate", remedy="order all keys one way, NULLS LAST")
    return directions.pop()


def _rank(lower: Lower, order: tuple[exp.Ordered, ...], null: str) -> exp.Expr:
    """The keys as one comparable value, in which NULL comes last, and NaN after every number."""
    parts: list[exp.Expr] = []
    for key in order:
        x = _comparable(lower, key.this)
        if type_of(key.this).kind is Kind.FLOAT:
            parts += [call(null, x), call("isNaN", x), form("if(isNaN(x), 0., x)", x=_nullable(x))]
        else:
            parts += [call(null, x), _nullable(x)]
    return call("tuple", *parts)


def _comparable(lower: Lower, key: exp.Expr) -> exp.Expr:
    lowered = lower(key)
    return comparable_uuid(lowered) if type_of(key).kind is Kind.UUID else lowered


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
    by = _rank(lower, found.order, "isNotNull" if descending else "isNull")
    collect = "groupUniqArray" if found.distinct else "groupArray"
    part = Component(collect, (call("tuple", by, _nullable(shown)),), condition)
    sort = "arrayReverseSort" if descending else "arraySort"
    template = f"arrayMap(_p -> tupleElement(_p, 2), {sort}(_p -> tupleElement(_p, 1), a))"
    return Aggregate((part,), lambda a: form(template, a=a))


SPECS: dict[type[exp.Expr], Callable[[Lower, Call], Aggregate]] = {
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
    exp.Stddev: _deviation("stddevSampStable", 2),
    exp.StddevSamp: _deviation("stddevSampStable", 2),
    exp.StddevPop: _deviation("stddevPopStable", 1),
    exp.Variance: _deviation("varSampStable", 2),
    exp.VariancePop: _deviation("varPopStable", 1),
    exp.Corr: _of_pairs("corrStable", "multiIf(n = 0, NULL, n = 1, nan, v)"),
    exp.CovarSamp: _of_pairs("covarSampStable", "if(n < 2, NULL, v)"),
    exp.CovarPop: _of_pairs("covarPopStable", "if(n < 1, NULL, v)"),
    exp.BitwiseAndAgg: _bitwise("groupBitAnd"),
    exp.BitwiseOrAgg: _bitwise("groupBitOr"),
    exp.BitwiseXorAgg: _bitwise("groupBitXor"),
    exp.Median: _median,
    exp.PercentileCont: _quantile_cont,
    exp.PercentileDisc: _quantile_disc,
    exp.First: _first(True),
    exp.Last: _first(False),
    exp.ArrayAgg: _list,
    exp.GroupConcat: _string_agg,
}


def _build(lower: Lower, node: exp.Expr) -> exp.Expr:
    return aggregate(lower, node)


_EVERY = "big_int separator nulls_excluded count"
RULES: dict[type[exp.Expr], Rule] = {
    **{kind: rule(_build, _EVERY) for kind in (*SPECS, exp.Filter, exp.WithinGroup)},
}
