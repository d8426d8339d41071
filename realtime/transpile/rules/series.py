"""``generate_series`` and ``range`` of integers and moments: numbered rows where the ends are constants, else lists."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form, number
from realtime.transpile.lower import Lower, refused, type_of
from realtime.transpile.rules.casts import constant as constant_of
from realtime.transpile.rules.intervals import ADD, MICROSECONDS, parts
from realtime.transpile.rules.refusals import is_clock
from realtime.transpile.types import BIGINT, TIMESTAMP, Kind

_VARIABLE = (exp.Column, exp.Parameter, exp.Placeholder, exp.Query)
_FIXED = "end it at a fixed date that is late enough, and filter by {{ as_of() }} in the lambda"
_EPOCH = datetime.datetime(1970, 1, 1)
# A series of months from the 29th or later moves on from the last day of the first short month that it meets.
_ALWAYS_THERE = 28


@dataclasses.dataclass(frozen=True)
class Numbered:
    """A series of ``size`` elements; ``at(n)`` is the ClickHouse expression of element ``n``, counted from 0."""

    size: int
    at: Callable[[exp.Expr], exp.Expr]


@dataclasses.dataclass(frozen=True)
class _Step:
    """From one element to the next: so many months, or so many units (of microseconds, or of 1)."""

    months: int
    units: int


def constant(lower: Lower, node: exp.GenerateSeries) -> Numbered | None:
    """The series ``node`` where its ends are constants; None where they are not, or where months are clipped."""
    start, end, step = _start(node), node.args["end"], _step(lower, node)
    if start.find(*_VARIABLE) is not None or end.find(*_VARIABLE) is not None:
        return None
    for side in (start, end):
        if any(map(is_clock, side.walk())):
            raise refused(side, "a series up to the clock has other rows in every run", remedy=_FIXED)
        lower(side)
    inclusive = not node.args.get("is_end_exclusive")
    first, last = (_value(lower, node, side) for side in (start, end))
    if first is None or last is None:
        return Numbered(0, lambda n: lower(start))
    if isinstance(first, int) and isinstance(last, int):
        size = _size(first, last, step.units, inclusive)
        return Numbered(size, lambda n: form("start + n", start=number(first), n=_times(n, step.units)))
    assert isinstance(first, datetime.datetime)
    assert isinstance(last, datetime.datetime)
    if step.months and (first.day > _ALWAYS_THERE or first.microsecond):
        return None
    size = _size_of_moments(first, last, step, inclusive)
    moment = constant_of(lower, start, TIMESTAMP)
    unit, amount = ("month", step.months) if step.months else _coarsest(step.units)
    return Numbered(size, lambda n: call(ADD[unit], moment, _times(n, amount)))


def as_list(lower: Lower, node: exp.GenerateSeries) -> exp.Expr:
    """The series ``node`` as a list; an empty one where an end is NULL."""
    found, step = constant(lower, node), _step(lower, node)
    if found is not None:
        elements = form("arrayMap(_i -> element, range(size))", element=found.at(exp.column("_i")), size=found.size)
    elif type_of(node).item.kind is Kind.INTEGER:
        start, end = (lower.to(side, BIGINT) for side in (_start(node), node.args["end"]))
        elements = _listed(node, start, end, step.units, "x")
    elif step.months:
        elements = _months(lower, node, step.months)
    else:
        start, end = (_microseconds(lower, side) for side in (_start(node), node.args["end"]))
        elements = _listed(node, start, end, step.units, "fromUnixTimestamp64Micro(x, 'UTC')")
    return cast(elements, type_of(node).clickhouse)


def _start(node: exp.GenerateSeries) -> exp.Expr:
    found: exp.Expr = node.args["start"]
    return found


def _step(lower: Lower, node: exp.GenerateSeries) -> _Step:
    kind, step = type_of(node).item.kind, node.args.get("step")
    if kind not in (Kind.INTEGER, Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        raise refused(node, f"a series of {type_of(node).item}", remedy="use integers, dates or timestamps")
    if step is None:
        return _Step(0, 1)
    if step.find(*_VARIABLE) is not None:
        raise refused(step, "a step that is no constant", remedy="write it as a literal, as INTERVAL 1 DAY")
    if kind is Kind.INTEGER:
        found = _Step(0, int(lower.binder.constant(step)))
    else:
        parts(lower, step)  # what is no interval of whole units is refused
        found = _Step(_extracted(lower, step, _MONTHS), _extracted(lower, step, _MICROSECONDS))
    if bool(found.months) == bool(found.units):
        raise refused(step, "a step of nothing, or of months and days", remedy="use one unit, and not 0 of it")
    return found


_MONTHS = {"year": 12, "month": 1}
_MICROSECONDS = {
    "day": MICROSECONDS["day"], "hour": MICROSECONDS["hour"], "minute": MICROSECONDS["minute"], "microsecond": 1,
}  # fmt: skip


def _extracted(lower: Lower, interval: exp.Expr, parts: dict[str, int]) -> int:
    """The length of a constant interval in ``parts``, each with its length; DuckDB's microseconds hold the seconds."""
    values = (lower.binder.constant(exp.Extract(this=exp.var(p), expression=interval.copy())) for p in parts)
    return sum(int(value) * length for value, length in zip(values, parts.values(), strict=True))


def _value(lower: Lower, node: exp.GenerateSeries, side: exp.Expr) -> int | datetime.datetime | None:
    target = BIGINT if type_of(node).item.kind is Kind.INTEGER else TIMESTAMP
    if target is TIMESTAMP:
        constant_of(lower, side, target)  # what ClickHouse can't hold is refused
    found: int | datetime.datetime | None = lower.binder.constant(exp.cast(side.copy(), target.name, dialect="duckdb"))
    return found


def _size(first: int, last: int, step: int, inclusive: bool) -> int:
    """How many numbers there are from ``first`` to ``last``.

    >>> _size(1, 7, 3, True), _size(1, 7, 3, False), _size(7, 1, -3, True), _size(1, 7, -1, True)
    (3, 2, 3, 0)
    """
    distance, size = (last - first, step) if step > 0 else (first - last, -step)
    if distance < 0:
        return 0
    whole, rest = divmod(distance, size)
    return whole + 1 if inclusive or rest else whole


def _size_of_moments(first: datetime.datetime, last: datetime.datetime, step: _Step, inclusive: bool) -> int:
    if not step.months:
        micros = [(moment - _EPOCH) // datetime.timedelta(microseconds=1) for moment in (first, last)]
        return _size(micros[0], micros[1], step.units, inclusive)
    # Whatever the months' lengths, moments within them are ordered by day and time.
    within = [(m.day, m.time()) for m in (first, last)]
    months = [m.year * 12 + m.month for m in (first, last)]
    if step.months > 0:
        months[1] -= within[1] < within[0]
        same = within[1] == within[0]
    else:
        months[1] += within[1] > within[0]
        same = within[1] == within[0]
    return _size(months[0], months[1], step.months, inclusive or not same)


def _coarsest(micros: int) -> tuple[str, int]:
    units = [(name, size) for name, size in MICROSECONDS.items() if name != "week" and micros % size == 0]
    name, size = max(units, key=lambda unit: unit[1])
    return name, micros // size


def _times(n: exp.Expr, by: int) -> exp.Expr:
    return n.copy() if by == 1 else form("toInt64(n) * k", n=n, k=number(by))


def _listed(node: exp.GenerateSeries, start: exp.Expr, end: exp.Expr, step: int, element: str) -> exp.Expr:
    """A list of numbers, of which ``element`` makes the values: ``x`` in it is the number."""
    low, high = (start, end) if step > 0 else (end, start)
    distance = form("(toInt128(high) - low)", low=low, high=high)
    template = "intDiv(d, k) + 1"
    if node.args.get("is_end_exclusive"):
        template = "intDiv(d, k) + toUInt8(positiveModulo(d, k) > 0)"
    size = form("ifNull(if(low <= high, size, 0), 0)", low=low, high=high, size=form(template, d=distance, k=abs(step)))
    first = form("ifNull(start, toInt64(0))", start=start) if start.find(exp.Column) is not None else start
    x = form("start + n", start=first, n=_times(exp.column("_i"), step))
    value = form(element, x=x)
    return form("arrayMap(_i -> value, range(toUInt64(size)))", value=value, size=size)


def _microseconds(lower: Lower, side: exp.Expr) -> exp.Expr:
    return call("toUnixTimestamp64Micro", lower.to(side, TIMESTAMP))


def _months(lower: Lower, node: exp.GenerateSeries, step: int) -> exp.Expr:
    """Moments months apart, each made of the one before: from January 31st to February 29th and on to March 29th."""
    start, end = (lower.to(side, TIMESTAMP) for side in (_start(node), node.args["end"]))
    low, high = (start, end) if step > 0 else (end, start)
    size = form(
        "ifNull(greatest(0, intDiv(toYear(high) * 12 + toMonth(high) - toYear(low) * 12 - toMonth(low), k)), 0)",
        low=low, high=high, k=abs(step),
    )  # fmt: skip
    # What may go one too far is dropped again.
    past = "_m > end" if step > 0 else "_m < end"
    if node.args.get("is_end_exclusive"):
        past = "_m >= end" if step > 0 else "_m <= end"
    micros = call("toUnixTimestamp64Micro", form("ifNull(start, toDateTime64(0, 6, 'UTC'))", start=start))
    # ClickHouse adds months to what has a fraction of a second as if it were later, before 1970.
    fraction = form("positiveModulo(t, 1000000)", t=micros)
    months = form(
        "arrayFold((_a, _i) -> arrayPushBack(_a, addMonths(_a[-1], step)), range(toUInt64(size)), [first])",
        first=form("fromUnixTimestamp64Micro(t - fraction, 'UTC')", t=micros, fraction=fraction),
        size=size, step=number(step),
    )  # fmt: skip
    moments = form(
        "arrayMap(_m -> fromUnixTimestamp64Micro(toUnixTimestamp64Micro(_m) + fraction, 'UTC'), months)",
        fraction=fraction, months=months,
    )  # fmt: skip
    kept = form("NOT ifNull(isNull(start) OR past, 1)", start=start, past=form(past, end=end))
    return form("arrayFilter(_m -> kept, moments)", kept=kept, moments=moments)
