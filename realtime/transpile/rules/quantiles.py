"""Aggregates that look at every value: medians, quantiles and the median deviation."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call, cast, column, form, number
from realtime.transpile.lower import Lower, refused, type_of
from realtime.transpile.rules.arithmetic import double
from realtime.transpile.rules.components import Aggregate, Call, Component, Spec, nullable
from realtime.transpile.rules.order import UNORDERED
from realtime.transpile.types import DuckType, Kind


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
        times = kind.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME)
        remedy = "use quantile_disc, which gives one of the values" if times else "cast it to DOUBLE"
        raise refused(found.node, f"a continuous quantile of {kind}", remedy=remedy)
    return Aggregate((Component("groupArray", (double(lower, value),)),), lambda a: _between(a, fraction))


_SORTED = "arraySort(_v -> (isNaN(_v), _v), a)"


def _between(a: exp.Expr, fraction: float) -> exp.Expr:
    """The value at ``fraction`` of the doubles in ``a``, which is computed between two of them; NULL of none."""
    template = """if(empty(a), NULL, if(floor(r) = ceil(r), arrayElement(sorted, toInt64(floor(r)) + 1),
        arrayElement(sorted, toInt64(floor(r)) + 1) * (1. - (r - floor(r)))
        + arrayElement(sorted, toInt64(ceil(r)) + 1) * (r - floor(r))))"""
    place = form("((length(a) - 1) * p)", a=a, p=exp.Literal.number(repr(fraction)))
    return form(template, a=a, r=place, sorted=form(_SORTED, a=a))


def _deviation(lower: Lower, found: Call) -> Aggregate:
    """``mad``: the median of the distances from the median."""
    kind = type_of(found.value)
    if (kind.kind is not Kind.INTEGER and kind.name != "DOUBLE") or found.distinct or found.order:
        raise refused(found.node, f"mad of {kind}", remedy="cast it to DOUBLE")

    def finish(a: exp.Expr) -> exp.Expr:
        middle = form("assumeNotNull(ifNull(m, 0.))", m=_between(column("_a"), 0.5))
        distances = form("arrayMap(_d -> abs(_d - m), _a)", m=middle)
        bound = "arrayElement(arrayMap(_a -> body, [a]), 1)"
        return form(bound, a=form(bound, a=a, body=distances), body=_between(column("_a"), 0.5))

    return Aggregate((Component("groupArray", (double(lower, found.value),)),), finish)


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
    kind = type_of(value)
    if kind.kind in UNORDERED:
        raise refused(found.node, f"a discrete quantile of {kind}", remedy="cast it to a number or text")
    template = """arrayElementOrNull(sorted,
        greatest(1, length(a) - toInt64(floor(length(a) - length(a) * p))))"""
    x = nullable(lower(value))
    part = Component("groupArray", (cast(x, "Nullable(UInt8)") if kind.kind is Kind.BOOLEAN else x,))
    ordered = _SORTED if kind.kind is Kind.FLOAT else "arraySort(a)"

    def finish(a: exp.Expr) -> exp.Expr:
        return form(template, a=a, sorted=form(ordered, a=a), p=exp.Literal.number(repr(fraction)))

    return Aggregate((part,), finish)


SPECS: dict[type[exp.Expr], Spec] = {
    exp.Median: _median,
    exp.PercentileCont: _quantile_cont,
    exp.PercentileDisc: _quantile_disc,
}
NAMED: dict[str, Spec] = {"mad": _deviation}
