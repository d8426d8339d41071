"""Dates and timestamps: truncation, parts, differences and epochs.

Everything below a day is computed on microseconds since 1970: ClickHouse's own functions are wrong before then.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.rules.intervals import MICROSECONDS, parts, shifted_by, unit
from realtime.transpile.rules.text import constant_of
from realtime.transpile.types import BIGINT, DATE, DOUBLE, TIMESTAMP, DuckType, Kind

_MOMENTS = (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ)
_MONDAY = 4 * MICROSECONDS["day"]
"""1970-01-05, a Monday, from which weeks are counted."""


def timestamp(lower: Lower, node: exp.Expr) -> exp.Expr:
    """A date or timestamp as TIMESTAMP, at UTC."""
    if type_of(node).kind not in _MOMENTS:
        raise refused(node, f"{type_of(node)} where a date or timestamp is expected", remedy="cast it to TIMESTAMP")
    return lower.to(node, TIMESTAMP)


def day(lower: Lower, node: exp.Expr) -> exp.Expr:
    """The day of a date or timestamp: ClickHouse puts what is less than a second before 1970 into 1970 otherwise."""
    if type_of(node).kind not in _MOMENTS:
        raise refused(node, f"{type_of(node)} where a date or timestamp is expected", remedy="cast it to TIMESTAMP")
    return lower.to(node, DATE)


def microseconds(lower: Lower, node: exp.Expr) -> exp.Expr:
    """A date or timestamp as microseconds since 1970."""
    return call("toUnixTimestamp64Micro", timestamp(lower, node))


def floored(x: exp.Expr, by: int, origin: int = 0) -> exp.Expr:
    """``x`` down to a multiple of ``by``, counted from ``origin``, also below it."""
    offset = form("(x - origin)", x=x, origin=origin) if origin else x
    # A literal beyond 32 bits is unsigned by itself, and by an unsigned number ClickHouse divides the bare bits.
    return form("x - positiveModulo(offset, toInt64(by))", x=x, offset=offset, by=by)


def from_microseconds(x: exp.Expr, target: DuckType) -> exp.Expr:
    """Microseconds since 1970 as ``target``, a date or timestamp type."""
    moment = call("fromUnixTimestamp64Micro", x, "UTC")
    return call("toDate32", moment, "UTC") if target.kind is Kind.DATE else moment


def _truncated(lower: Lower, node: exp.TimestampTrunc | exp.DateTrunc) -> exp.Expr:
    name, target = unit(node.args["unit"].name), type_of(node)
    if name in MICROSECONDS:
        origin = _MONDAY if name == "week" else 0
        return from_microseconds(floored(microseconds(lower, node.this), MICROSECONDS[name], origin), target)
    if name not in ("month", "quarter", "year"):
        raise refused(node, f"date_trunc to {name}", remedy="truncate to the year and compute from it")
    found = call("dateTrunc", name, day(lower, node.this))
    return call("toDate32", found) if target.kind is Kind.DATE else call("toDateTime64", found, 6, "UTC")


# `x` is the value itself, `t` the same as TIMESTAMP.
PARTS: dict[str, str] = {
    "year": "toYear(x)",
    "quarter": "toQuarter(x)",
    "month": "toMonth(x)",
    "week": "toISOWeek(x)",
    "day": "toDayOfMonth(x)",
    "hour": "toHour(t)",
    "minute": "toMinute(t)",
    "second": "toSecond(t)",
    "millisecond": "toSecond(t) * 1000 + intDiv(toMicrosecond(t), 1000)",
    "microsecond": "toSecond(t) * 1000000 + toMicrosecond(t)",
    "dow": "toDayOfWeek(x, 2)",
    "isodow": "toDayOfWeek(x)",
    "doy": "toDayOfYear(t)",  # of the last Date32, 2299-12-31, ClickHouse gives 364
    "isoyear": "toISOYear(x)",
    "yearweek": "toYearWeek(x, 3)",
    "epoch": "toFloat64(toUnixTimestamp64Micro(t)) / 1000000.",
    "decade": "intDiv(toYear(x), 10)",
    "century": "intDiv(toYear(x) - 1, 100) + 1",
}
_PART_NAMES = {
    "dayofweek": "dow", "weekday": "dow", "dayofyear": "doy", "weekofyear": "week", "dayofmonth": "day",
    "dayofweekiso": "isodow", "timetounix": "epoch",
}  # fmt: skip


def part(lower: Lower, node: exp.Expr, name: str, moment: exp.Expr) -> exp.Expr:
    """The part ``name`` of ``moment``, in the type of ``node``."""
    plain = unit(name)
    template = PARTS.get(_PART_NAMES.get(plain, plain))
    if template is None:
        raise refused(node, f"the part {plain} of a moment", remedy=f"use one of {', '.join(PARTS)}")
    t = timestamp(lower, moment)
    return cast(form(template, x=lower(moment), t=t), type_of(node).clickhouse)


def _extract(lower: Lower, node: exp.Extract) -> exp.Expr:
    return _part(lower, node, node.this.name, node.expression)


def _date_part(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    return _part(lower, node, constant_of(node.expressions[0], "a part"), node.expressions[1])


def _named(lower: Lower, node: exp.Expr) -> exp.Expr:
    """``year(x)`` and the like, by the name of the node."""
    return part(lower, node, node.key, node.this)


def _anonymous(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    return part(lower, node, node.name, node.expressions[0])


def _epoch(lower: Lower, node: exp.TimeToUnix) -> exp.Expr:
    return _part(lower, node, "epoch", node.this)


def _part(lower: Lower, node: exp.Expr, name: str, value: exp.Expr) -> exp.Expr:
    difference = value.unnest()
    if name.lower() == "epoch" and isinstance(difference, exp.Sub) and type_of(difference).kind is Kind.INTERVAL:
        ends = [microseconds(lower, side) for side in (difference.left, difference.right)]
        # An interval is whole days and the rest; DuckDB turns each into a DOUBLE before it adds them.
        template = "toFloat64(intDiv(a - b, toInt64(us)) * 86400) + toFloat64((a - b) % toInt64(us)) / 1000000."
        return form(template, a=ends[0], b=ends[1], us=MICROSECONDS["day"])
    return part(lower, node, name, value)


def _difference(lower: Lower, node: exp.DateDiff) -> exp.Expr:
    """Boundaries of the unit between two moments; of weeks, whole sevens of days."""
    name, start, end = unit(node.args["unit"].name), node.expression, node.this
    return _boundaries(lower, node, name, start, end)


def _boundaries(lower: Lower, node: exp.Expr, name: str, start: exp.Expr, end: exp.Expr) -> exp.Expr:
    width = MICROSECONDS["day" if name == "week" else name] if name in MICROSECONDS else None
    if width is not None:
        a, b = (
            form("intDiv(x, toInt64(by))", x=floored(microseconds(lower, m), width), by=width) for m in (start, end)
        )
        return form("intDiv(b - a, 7)" if name == "week" else "b - a", a=a, b=b)
    if name not in ("month", "quarter", "year"):
        raise refused(node, f"date_diff in {name}", remedy="use years to microseconds")
    return call("toInt64", call("dateDiff", name, day(lower, start), day(lower, end)))


def _whole_units(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    """date_sub: whole units between two moments."""
    name = unit(constant_of(node.expressions[0], "a unit"))
    if name not in MICROSECONDS:
        raise refused(node, f"date_sub in {name}: months end otherwise in ClickHouse", remedy="use date_diff")
    start, end = (microseconds(lower, m) for m in node.expressions[1:])
    return form("intDiv(b - a, toInt64(by))", a=start, b=end, by=MICROSECONDS[name])


def _bucket(lower: Lower, node: exp.DateBin) -> exp.Expr:
    """time_bucket: weeks and shorter from Monday 2000-01-03, months and longer from 2000-01."""
    # sqlglot keeps time_bucket's third argument as the unit.
    origin, target = node.args.get("unit"), type_of(node)
    found = parts(lower, node.this)
    if len(found) != 1 or not isinstance(found[0][0], exp.Literal):
        raise refused(node, "a bucket whose width is no single number", remedy="write INTERVAL 5 MINUTE")
    amount, name = int(found[0][0].name), found[0][1]
    if name in MICROSECONDS:
        start = lower.binder.constant(exp.func("epoch_us", _origin(node, origin), dialect="duckdb"))
        width = amount * MICROSECONDS[name]
        return from_microseconds(floored(microseconds(lower, node.expression), width, int(start)), target)
    if origin is not None or name not in ("month", "quarter", "year"):
        raise refused(node, "a bucket of months with an origin", remedy="use date_trunc")
    months = amount * {"month": 1, "quarter": 3, "year": 12}[name]
    since = form("(toInt64(toYear(t)) - 2000) * 12 + toMonth(t) - 1", t=timestamp(lower, node.expression))
    moved = call("addMonths", call("toDateTime64", "2000-01-01 00:00:00", 6, "UTC"), floored(since, months))
    return call("toDate32", moved, "UTC") if target.kind is Kind.DATE else moved


def _origin(node: exp.Expr, origin: exp.Expr | None) -> exp.Expr:
    given = origin.this if isinstance(origin, exp.Cast) else origin
    if given is None:
        given = exp.Literal.string("2000-01-03")
    if not isinstance(given, exp.Literal) or not given.is_string:
        raise refused(node, "a bucket's origin that is no constant", remedy="write TIMESTAMP '2018-01-01'")
    return exp.cast(given.copy(), "timestamp", dialect="duckdb")


def _last_day(lower: Lower, node: exp.LastDay) -> exp.Expr:
    month = form("toStartOfMonth(d)", d=lower.to(node.this, DATE))
    return form("addDays(addMonths(toDate32(m), 1), -1)", m=month)


def _name(kind: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        return call("dateName", kind, day(lower, node.this))

    return build


def _unix(lower: Lower, node: exp.UnixToTime) -> exp.Expr:
    """epoch_ms of a moment, or a number of milliseconds, microseconds or seconds as a moment."""
    scale, given = node.args.get("scale"), type_of(node.this)
    per = {"": 10**6, "0": 10**6, "3": 1000, "6": 1}[scale.name if scale is not None else ""]
    if type_of(node).kind is Kind.INTEGER and per == 1000:
        return form("intDiv(us + if(us >= 0, 500, -500), 1000)", us=microseconds(lower, node.this))
    if given.kind is not Kind.INTEGER:
        raise refused(node, f"a moment from {given}", remedy="cast the number to BIGINT")
    micros = form("x * per", x=lower.to(node.this, BIGINT), per=per) if per > 1 else lower.to(node.this, BIGINT)
    return from_microseconds(micros, TIMESTAMP)


def _epoch_in(per: str) -> Callable[[Lower, exp.Anonymous], exp.Expr]:
    def build(lower: Lower, node: exp.Anonymous) -> exp.Expr:
        return form(per, us=microseconds(lower, node.expressions[0]))

    return build


def _make_date(lower: Lower, node: exp.DateFromParts) -> exp.Expr:
    return _date_of(*(lower.to(node.args[p], BIGINT) for p in ("year", "month", "day")))


def _date_of(year: exp.Expr, month: exp.Expr, day: exp.Expr) -> exp.Expr:
    """The day of these numbers; an error where there is none such."""
    first = form("addMonths(toDate32('2000-01-01'), (y - 2000) * 12 + m - 1)", y=year, m=month)
    found = form("addDays(first, d - 1)", first=first, d=day)
    template = """multiIf(isNull(y) OR isNull(m) OR isNull(d), NULL,
        y >= 1 AND y <= 9999 AND m >= 1 AND m <= 12 AND d >= 1 AND toMonth(found) = m AND d <= 31, found,
        toDate32(throwIf(1, 'no such date')))"""
    return cast(form(template, y=year, m=month, d=day, found=found), DATE.clickhouse)


def _make_timestamp(lower: Lower, node: exp.TimestampFromParts) -> exp.Expr:
    names = ("year", "month", "day", "hour", "min")
    year, month, day, hour, minute = (lower.to(node.args[name], BIGINT) for name in names)
    second = lower.to(node.args["sec"], DOUBLE)
    template = """addMicroseconds(toDateTime64(date, 6, 'UTC'), (h * 60 + m) * 60000000 + toInt64(round(s * 1000000.))
        + throwIf(ifNull(h < 0 OR h > 23 OR m < 0 OR m > 59 OR NOT (s >= 0 AND s < 60), 0), 'no such time'))"""
    found = form(template, date=_date_of(year, month, day), h=hour, m=minute, s=second)
    return form("if(isNull(h) OR isNull(m) OR isNull(s), NULL, found)", h=hour, m=minute, s=second, found=found)


def _nanoseconds(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    wide = form("toInt128(us) * 1000", us=microseconds(lower, node.expressions[0]))
    return call("accurateCast", wide, BIGINT.clickhouse)


def _zoned(lower: Lower, node: exp.AtTimeZone) -> exp.Expr:
    return at_zone(lower, node, node.this, constant_of(node.args["zone"], "a time zone"))


def _timezone(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    return at_zone(lower, node, node.expressions[1], constant_of(node.expressions[0], "a time zone"))


def at_zone(lower: Lower, node: exp.Expr, moment: exp.Expr, zone: str) -> exp.Expr:
    """An instant as local time; local time as an instant only for UTC: gaps and folds differ elsewhere."""
    found = type_of(moment)
    if found.kind is Kind.TIMESTAMPTZ:
        local = call("toString", call("toTimeZone", lower(moment), zone))
        return cast(local, TIMESTAMP.clickhouse)
    if found.kind is Kind.TIMESTAMP and zone.upper() == "UTC":
        return lower(moment)
    raise refused(node, f"{found} AT TIME ZONE '{zone}' differs where clocks change", remedy="keep instants in UTC")


def _date(lower: Lower, node: exp.Date) -> exp.Expr:
    return lower.to(node.this, DATE)


def _added(lower: Lower, node: exp.DateAdd) -> exp.Expr:
    return shifted_by(lower, node.this, node.expression, type_of(node), minus=False)


RULES: dict[type[exp.Expr], Rule] = {
    exp.TimestampTrunc: rule(_truncated, "unit"),
    exp.DateTrunc: rule(_truncated, "unit"),
    exp.Extract: rule(_extract),
    **{
        kind: rule(_named)
        for kind in (
            exp.Year, exp.Quarter, exp.Month, exp.Week, exp.WeekOfYear, exp.Day, exp.DayOfMonth, exp.DayOfWeek,
            exp.DayOfWeekIso, exp.DayOfYear, exp.Hour, exp.Minute, exp.Second,
        )
    },
    exp.TimeToUnix: rule(_epoch),
    exp.DateDiff: rule(_difference, "unit date_part_boundary"),
    exp.DateBin: rule(_bucket, "unit"),
    exp.LastDay: rule(_last_day),
    exp.Dayname: rule(_name("weekday")),
    exp.Monthname: rule(_name("month")),
    exp.UnixToTime: rule(_unix, "scale"),
    exp.DateFromParts: rule(_make_date, "year month day"),
    exp.TimestampFromParts: rule(_make_timestamp, "year month day hour min sec"),
    exp.AtTimeZone: rule(_zoned, "zone"),
    exp.Date: rule(_date),
    exp.DateAdd: rule(_added),
}  # fmt: skip
FUNCTIONS: dict[str, Rule] = {
    "date_part": rule(_date_part),
    "datepart": rule(_date_part),
    "date_sub": rule(_whole_units),
    "datesub": rule(_whole_units),
    **{
        name: rule(_anonymous)
        for name in ("weekday", "yearweek", "isoyear", "millisecond", "microsecond", "decade", "century")
    },
    "epoch_us": rule(_epoch_in("us")),
    "epoch_ns": rule(_nanoseconds),
    "timezone": rule(_timezone),
}
