"""INTERVALs: never a value of their own in ClickHouse, only what a date or timestamp is moved by."""

from __future__ import annotations

import re

from sqlglot import exp

from realtime.transpile.form import call, cast, form, number
from realtime.transpile.lower import Lower, refused, type_of
from realtime.transpile.types import TIMESTAMP, DuckType, Kind

_ALIASES = {
    "years": "year", "y": "year", "yr": "year", "yrs": "year", "quarters": "quarter", "months": "month", "mon": "month",
    "mons": "month", "weeks": "week", "w": "week", "days": "day", "d": "day", "hours": "hour", "h": "hour",
    "hr": "hour", "hrs": "hour", "minutes": "minute", "m": "minute", "min": "minute", "mins": "minute",
    "seconds": "second", "s": "second", "sec": "second", "secs": "second", "milliseconds": "millisecond",
    "ms": "millisecond", "microseconds": "microsecond", "us": "microsecond",
}  # fmt: skip
MICROSECONDS = {
    "microsecond": 1, "millisecond": 1_000, "second": 10**6, "minute": 60 * 10**6, "hour": 3600 * 10**6,
    "day": 86_400 * 10**6, "week": 7 * 86_400 * 10**6,
}  # fmt: skip
MONTHS = {"month": 1, "quarter": 3, "year": 12}
ADD = {
    "year": "addYears", "quarter": "addQuarters", "month": "addMonths", "week": "addWeeks", "day": "addDays",
    "hour": "addHours", "minute": "addMinutes", "second": "addSeconds", "millisecond": "addMilliseconds",
    "microsecond": "addMicroseconds",
}  # fmt: skip
_TEXT = re.compile(r"\s*(-?\d+)\s*([a-zA-Z]+)\s*")
Part = tuple[exp.Expr, str]


def unit(name: str) -> str:
    """The unit's name in the singular: ``mins`` is ``minute``."""
    plain = name.lower().strip("'")
    return _ALIASES.get(plain, plain)


def parts(lower: Lower, node: exp.Expr) -> list[Part]:
    """Amounts and units of an interval; RefusedError where it has no such form."""
    if isinstance(node, exp.Paren):
        return parts(lower, node.this)
    if isinstance(node, exp.Interval):
        return _written(lower, node)
    if isinstance(node, exp.Mul):
        return _multiplied(lower, node)
    if isinstance(node, exp.Add):
        return parts(lower, node.left) + parts(lower, node.right)
    if isinstance(node, exp.Anonymous) and node.name.lower() in MAKERS:
        return [(_amount(lower, node.expressions[0]), MAKERS[node.name.lower()])]
    if isinstance(node, exp.ToDays):
        return [(_amount(lower, node.this), "day")]
    raise refused(node, "this form of interval", remedy="write INTERVAL 20 MINUTE, or to_minutes(n)")


MAKERS = {
    f"to_{name}s": name
    for name in (
        *("year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond"),
    )
}


def _written(lower: Lower, node: exp.Interval) -> list[Part]:
    given, value = node.args.get("unit"), node.this
    if given is None:
        found = _TEXT.findall(value.name)
        if not found or _TEXT.sub("", value.name):
            raise refused(node, "this text of an interval", remedy="write INTERVAL 20 MINUTE")
        return [(number(int(amount)), unit(name)) for amount, name in found]
    if isinstance(value, exp.Literal):
        if not re.fullmatch(r"-?\d+", value.name):
            raise refused(node, "a fraction of a unit", remedy="use a smaller unit")
        return [(number(int(value.name)), unit(given.name))]
    return [(_amount(lower, value), unit(given.name))]


def _amount(lower: Lower, node: exp.Expr) -> exp.Expr:
    if type_of(node).kind is not Kind.INTEGER:
        raise refused(node, f"an interval of {type_of(node)}", remedy="cast the amount to INTEGER")
    return lower(node)


def _multiplied(lower: Lower, node: exp.Mul) -> list[Part]:
    for by, interval in ((node.left, node.right), (node.right, node.left)):
        if type_of(interval).kind is Kind.INTERVAL and type_of(by).kind is Kind.INTEGER:
            return [(form("(x * n)", x=lower(by), n=amount), name) for amount, name in parts(lower, interval)]
    raise refused(node, "an interval times what is no integer", remedy="cast the factor to INTEGER")


def microseconds(lower: Lower, node: exp.Expr) -> int | None:
    """The length of a constant interval; None where it has months or an amount that is no constant."""
    total = 0
    for amount, name in parts(lower, node):
        if name not in MICROSECONDS or not amount.is_int:
            return None
        total += int(amount.to_py()) * MICROSECONDS[name]
    return total


def length(lower: Lower, node: exp.Expr) -> exp.Expr:
    """An interval in microseconds: of fixed units, or between two timestamps. RefusedError where it has months."""
    inner = node.unnest()
    if isinstance(inner, exp.Sub) and {type_of(inner.left).kind, type_of(inner.right).kind} == {Kind.TIMESTAMP}:
        ends = [call("toUnixTimestamp64Micro", lower.to(side, TIMESTAMP)) for side in (inner.left, inner.right)]
        return form("(a - b)", a=ends[0], b=ends[1])
    total: exp.Expr = number(0)
    for amount, name in parts(lower, inner):
        if name not in MICROSECONDS:
            raise refused(
                node, f"an interval of {name}s has no fixed length", remedy="compare with days, or compare moments"
            )
        total = form("(total + toInt64(amount) * by)", total=total, amount=amount, by=MICROSECONDS[name])
    return total


def shifted(lower: Lower, node: exp.Binary) -> exp.Expr:
    """A date or timestamp plus or minus an interval, a number of days or another date."""
    minus = isinstance(node, exp.Sub)
    if not isinstance(node, (exp.Add, exp.Sub)):
        raise refused(node, "arithmetic with an interval", remedy="keep the number of seconds instead")
    left, right = node.left, node.right
    if not minus and type_of(left).kind in (Kind.INTERVAL, Kind.INTEGER):
        left, right = right, left
    a, b = type_of(left), type_of(right)
    if a.kind is Kind.DATE and b.kind is Kind.DATE:
        return form("toInt64(toInt32(l) - toInt32(r))", l=lower(left), r=lower(right))
    if a.kind is Kind.DATE and b.kind is Kind.INTEGER:
        return call("addDays", lower(left), _signed(lower(right), minus))
    if b.kind is not Kind.INTERVAL or a.kind not in (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        raise refused(node, f"{a} {'-' if minus else '+'} {b}", remedy="use date_diff for differences")
    return moved(lower, left, parts(lower, right), type_of(node), minus=minus)


def shifted_by(lower: Lower, moment: exp.Expr, interval: exp.Expr, target: DuckType, *, minus: bool) -> exp.Expr:
    """``moment`` plus or minus ``interval``, as ``target``."""
    return moved(lower, moment, parts(lower, interval), target, minus=minus)


def moved(lower: Lower, moment: exp.Expr, by: list[Part], target: DuckType, *, minus: bool) -> exp.Expr:
    """``moment`` moved by ``by``: months first, then days, then the rest, as DuckDB does."""
    value = lower.to(moment, TIMESTAMP)
    for amount, name in sorted(by, key=lambda part: _rank(part[1])):
        if name not in ADD:
            raise refused(moment, f"interval unit {name}", remedy="use years to microseconds")
        value = _added(moment, value, name, _within_calendar(_signed(amount, minus), name))
    found = call("toDateTime64", value, 6, "UTC")
    return call("toDate32", found, "UTC") if target.kind is Kind.DATE else cast(found, target.clickhouse)


def _added(moment: exp.Expr, value: exp.Expr, name: str, amount: exp.Expr) -> exp.Expr:
    """``value``, made of ``moment``, moved by ``amount``. ClickHouse moves what is within the last second of a day
    before 1970 from the next day by months; what ends with a whole second is moved right."""
    if name not in MONTHS or not _has_fraction(moment):
        return call(ADD[name], value, amount)
    micros = call("toUnixTimestamp64Micro", value)
    fraction = form("positiveModulo(t, 1000000)", t=micros)
    whole = form("fromUnixTimestamp64Micro(t - fraction, 'UTC')", t=micros, fraction=fraction)
    template = "fromUnixTimestamp64Micro(toUnixTimestamp64Micro(moved) + fraction, 'UTC')"
    return form(template, moved=call(ADD[name], whole, amount), fraction=fraction)


def _has_fraction(moment: exp.Expr) -> bool:
    """Whether ``moment`` may be less than a second after a whole one, and before 1970."""
    inner = moment.unnest()
    if type_of(inner).kind is Kind.DATE or type_of(inner).name == "TIMESTAMP_S":
        return False
    if isinstance(inner, exp.Cast) and isinstance(inner.this, exp.Literal):
        return inner.this.name < "1970" or not inner.this.name[:1].isdigit()
    return not isinstance(inner, (exp.TimestampTrunc, exp.DateTrunc))


def _within_calendar(amount: exp.Expr, name: str) -> exp.Expr:
    """``amount``; an error where it is no constant and too large: ClickHouse stops at the years 1 and 9999 without a
    word. From anywhere in 1900 to 2299, 1,800 years lead to neither."""
    if amount.find(exp.Column, exp.Placeholder) is None:
        return amount
    most = 1_800 * 12 // MONTHS[name] if name in MONTHS else 1_800 * 365 * MICROSECONDS["day"] // MICROSECONDS[name]
    template = "n + throwIf(ifNull(abs(toInt256(n)) > most, 0), 'a moment is moved by more than 1,800 years')"
    return form(template, n=amount, most=most)


def _rank(name: str) -> int:
    return 0 if name in MONTHS else 1 if name in ("day", "week") else 2


def _signed(amount: exp.Expr, minus: bool) -> exp.Expr:
    if not minus:
        return amount
    if amount.is_int:
        return number(-int(amount.to_py()))
    return call("negate", amount)
