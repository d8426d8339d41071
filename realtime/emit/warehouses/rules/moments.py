"""Dates and timestamps: truncation, parts, differences, and moving by intervals."""

from __future__ import annotations

import calendar
from collections.abc import Callable

from sqlglot import exp

from realtime.emit.warehouses.warehouse import Writer, rule
from realtime.transpile.form import call, form, text
from realtime.transpile.lower import Rule, refused, type_of
from realtime.transpile.rules import intervals
from realtime.transpile.types import BIGINT, DATE, DOUBLE, TIMESTAMP, Kind

_TRUNCATED = ("microsecond", "millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
_MOVED = ("microsecond", "millisecond", "second", "minute", "hour", "day", "week", "month", "year")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


def _moment(writer: Writer, node: exp.Expr) -> exp.Expr:
    """``node`` as TIMESTAMP; what depends on the session's time zone is refused."""
    found = type_of(node)
    if found.kind not in (Kind.DATE, Kind.TIMESTAMP) or found.name == "TIMESTAMP_NS":
        raise refused(node, f"{found} where a date or timestamp is expected", remedy="cast it to TIMESTAMP")
    return writer.to(node, TIMESTAMP)


def _unit(node: exp.Expr, given: exp.Expr | None, known: tuple[str, ...]) -> str:
    name = intervals.unit(given.name) if given is not None else ""
    if name not in known:
        raise refused(node, f"unit {name or 'none'}", remedy=f"one of {', '.join(known)}")
    return name


def _truncate(writer: Writer, node: exp.Expr) -> exp.Expr:
    unit = _unit(node, node.args.get("unit"), _TRUNCATED)
    moment = _moment(writer, node.this)
    if unit == "week" and writer.warehouse.name == "snowflake":
        # Its own weeks begin where the session says.
        day = call("date_trunc", text("day"), moment)
        return call("dateadd", text("day"), form("1 - n", n=call("dayofweekiso", moment)), day)
    return call("date_trunc", text(unit), moment)


def moved(writer: Writer, node: exp.Binary) -> exp.Expr:
    """A date or timestamp plus or minus days or an interval; the days between two dates."""
    left, right, found = node.left, node.right, type_of(node)
    if isinstance(node, exp.Add) and type_of(left).kind in (Kind.INTERVAL, Kind.INTEGER):
        left, right = right, left
    kinds = (type_of(left).kind, type_of(right).kind)
    if kinds == (Kind.DATE, Kind.INTEGER):
        return _days_added(writer, node, left, right)
    if kinds == (Kind.DATE, Kind.DATE) and isinstance(node, exp.Sub):
        return _days_between(writer, writer(left), writer(right))
    if kinds[0] in (Kind.DATE, Kind.TIMESTAMP) and kinds[1] is Kind.INTERVAL and found.kind is Kind.TIMESTAMP:
        return _shifted(writer, _moment(writer, left), right, node)
    raise refused(
        node, f"{type_of(left)} {'+' if isinstance(node, exp.Add) else '-'} {type_of(right)}",
        remedy="move a DATE or TIMESTAMP by an INTERVAL, or use date_diff",
    )  # fmt: skip


def _date_add(writer: Writer, node: exp.DateAdd) -> exp.Expr:
    if type_of(node.expression).kind is not Kind.INTERVAL:
        raise refused(node, "date_add without an interval", remedy="write x + INTERVAL 1 DAY")
    return _shifted(writer, _moment(writer, node.this), node.expression, node)


def _days_added(writer: Writer, node: exp.Binary, date: exp.Expr, days: exp.Expr) -> exp.Expr:
    if type_of(days).name not in ("TINYINT", "SMALLINT", "INTEGER"):
        raise refused(node, f"a DATE moved by {type_of(days)}", remedy="cast the days to INTEGER")
    amount, operator = writer(days), "+" if isinstance(node, exp.Add) else "-"
    if writer.warehouse.name == "snowflake":
        signed = amount if operator == "+" else exp.Neg(this=exp.paren(amount))
        return writer.cast(call("dateadd", text("day"), signed, writer(date)), DATE)
    return form(f"d {operator} n", d=writer(date), n=amount)


def _days_between(writer: Writer, later: exp.Expr, earlier: exp.Expr) -> exp.Expr:
    if writer.warehouse.name == "snowflake":
        return writer.cast(call("datediff", text("day"), earlier, later), BIGINT)
    return writer.cast(form("a - b", a=later, b=earlier), BIGINT)


def _shifted(writer: Writer, moment: exp.Expr, interval: exp.Expr, node: exp.Expr) -> exp.Expr:
    """``moment`` moved by each part of ``interval``: months first, as both do."""
    backwards = isinstance(node, exp.Sub)
    parts = intervals.parts(writer, interval)
    if len(parts) != 1:
        raise refused(interval, "an interval of several units", remedy="add one after the other")
    amount, unit = parts[0]
    if unit not in _MOVED:
        raise refused(interval, f"an interval of {unit}s", remedy=f"one of {', '.join(_MOVED)}")
    if writer.warehouse.name == "snowflake":
        return call("dateadd", text(unit), exp.Neg(this=exp.paren(amount)) if backwards else amount, moment)
    operator = "-" if backwards else "+"
    if isinstance(amount, exp.Literal):
        return form(f"m {operator} i", m=moment, i=exp.Interval(this=text(f"{amount.name} {unit}")))
    # An interval times a number is computed in DOUBLEs, exact for every INTEGER.
    one = exp.Interval(this=text(f"1 {unit}"))
    return form(f"m {operator} (n * i)", m=moment, n=amount, i=one)


def _part(name: str) -> Callable[[Writer, exp.Expr, exp.Expr], exp.Expr]:
    return _PARTS[name] if name in _PARTS else lambda writer, node, x: _whole_part(writer, name, x)


def _whole_part(writer: Writer, name: str, x: exp.Expr) -> exp.Expr:
    return writer.cast(call("date_part", text(name), x), BIGINT)


def _year(writer: Writer, node: exp.Expr, x: exp.Expr) -> exp.Expr:
    """DuckDB has a year 0, PostgreSQL goes from -1 to 1; Snowflake's dates begin after both."""
    if writer.warehouse.name != "postgres":
        return _whole_part(writer, "year", x)
    first = writer.cast(text("0001-01-01"), DATE)
    template = "date_part('year', x) + CASE WHEN x < first THEN 1 ELSE 0 END"
    return writer.cast(form(template, x=x, first=first), BIGINT)


def _whole_second(writer: Writer, node: exp.Expr, x: exp.Expr) -> exp.Expr:
    return writer.cast(call("trunc", call("date_part", text("second"), x)), BIGINT)


def _weekday(writer: Writer, node: exp.Expr, x: exp.Expr) -> exp.Expr:
    """Sunday is 0."""
    if writer.warehouse.name == "postgres":
        return _whole_part(writer, "dow", x)
    return writer.cast(call("mod", call("dayofweekiso", x), 7), BIGINT)


def _iso_weekday(writer: Writer, node: exp.Expr, x: exp.Expr) -> exp.Expr:
    if writer.warehouse.name == "postgres":
        return _whole_part(writer, "isodow", x)
    return writer.cast(call("dayofweekiso", x), BIGINT)


def _iso_week(writer: Writer, node: exp.Expr, x: exp.Expr) -> exp.Expr:
    return _whole_part(writer, "week" if writer.warehouse.name == "postgres" else "weekiso", x)


def _day_of_year(writer: Writer, node: exp.Expr, x: exp.Expr) -> exp.Expr:
    return _whole_part(writer, "doy" if writer.warehouse.name == "postgres" else "dayofyear", x)


def _epoch(writer: Writer, node: exp.Expr, x: exp.Expr) -> exp.Expr:
    if writer.warehouse.name != "postgres":
        raise refused(node, "Snowflake's epoch is a whole number", remedy="use date_diff('second', …)")
    return writer.cast(call("date_part", text("epoch"), x), DOUBLE)


_PARTS: dict[str, Callable[[Writer, exp.Expr, exp.Expr], exp.Expr]] = {
    "year": _year, "second": _whole_second, "dow": _weekday, "dayofweek": _weekday, "weekday": _weekday,
    "isodow": _iso_weekday, "week": _iso_week, "doy": _day_of_year, "dayofyear": _day_of_year, "epoch": _epoch,
}  # fmt: skip
_PLAIN_PARTS = ("month", "day", "hour", "minute", "quarter")


def _extract(writer: Writer, node: exp.Extract) -> exp.Expr:
    return _named_part(writer, node, node.this.name, node.expression)


def _date_part(writer: Writer, node: exp.Anonymous) -> exp.Expr:
    if len(node.expressions) != 2 or not isinstance(node.expressions[0], exp.Literal):
        raise refused(node, "date_part of no constant", remedy="write extract(year FROM x)")
    return _named_part(writer, node, node.expressions[0].name, node.expressions[1])


def _named_part(writer: Writer, node: exp.Expr, given: str, of: exp.Expr) -> exp.Expr:
    name = intervals.unit(given)
    if name not in _PARTS and name not in _PLAIN_PARTS:
        raise refused(node, f"part {name}", remedy=f"one of {', '.join([*_PARTS, *_PLAIN_PARTS])}")
    return _part(name)(writer, node, _moment(writer, of))


def _part_function(name: str) -> Rule:
    def build(writer: Writer, node: exp.Func) -> exp.Expr:
        return _named_part(writer, node, name, node.this)

    return rule(build)


def _difference(writer: Writer, node: exp.DateDiff) -> exp.Expr:
    """Boundaries of a unit between two moments, as DuckDB's date_diff counts them."""
    unit = _unit(node, node.args.get("unit"), ("second", "minute", "hour", "day", "month", "quarter", "year"))
    start, end = _moment(writer, node.expression), _moment(writer, node.this)
    if writer.warehouse.name == "snowflake":
        return writer.cast(call("datediff", text(unit), start, end), BIGINT)
    if unit == "day":
        return _days_between(writer, writer.cast(end, DATE), writer.cast(start, DATE))
    if unit in _SECONDS:
        ends = [call("date_part", text("epoch"), call("date_trunc", text(unit), x)) for x in (end, start)]
        return writer.cast(form("(e - s) / n", e=ends[0], s=ends[1], n=_SECONDS[unit]), BIGINT)
    return _months_between(writer, unit, start, end)


def _months_between(writer: Writer, unit: str, start: exp.Expr, end: exp.Expr) -> exp.Expr:
    per_year = {"year": 1, "quarter": 4, "month": 12}[unit]
    counts = []
    for x in (end, start):
        year = _year(writer, x, x)
        within = call("date_part", text(unit), x)
        counts.append(year if unit == "year" else form("y * n + m", y=year, n=per_year, m=within))
    return writer.cast(form("e - s", e=counts[0], s=exp.paren(counts[1])), BIGINT)


def _last_day(writer: Writer, node: exp.LastDay) -> exp.Expr:
    moment = _moment(writer, node.this)
    if writer.warehouse.name == "snowflake":
        return call("last_day", moment)
    month = call("date_trunc", text("month"), moment)
    return writer.cast(form("m + i", m=month, i=exp.Interval(this=text("1 month -1 day"))), DATE)


def _name(part: str, names: tuple[str, ...]) -> Rule:
    """English names in full: Snowflake's own are cut to three letters, PostgreSQL's are padded."""

    def build(writer: Writer, node: exp.Func) -> exp.Expr:
        number = _part(part)(writer, node, _moment(writer, node.this))
        cases = [exp.If(this=exp.Literal.number(n), true=text(name)) for n, name in enumerate(names, 1)]
        return exp.Case(this=number, ifs=cases)

    return rule(build, "abbreviated")


_DAYS = tuple(calendar.day_name)
_MONTHS = tuple(calendar.month_name)[1:]


def _make_date(writer: Writer, node: exp.DateFromParts) -> exp.Expr:
    parts = [node.args[name] for name in ("year", "month", "day")]
    if any(type_of(p).kind is not Kind.INTEGER for p in parts):
        raise refused(node, "make_date of what are no whole numbers", remedy="cast them to INTEGER")
    integer = writer.warehouse.types["INTEGER"]
    return call("make_date", *(writer.named_cast(writer(p), integer) for p in parts))


RULES: dict[type[exp.Expr], Rule] = {
    exp.TimestampTrunc: rule(_truncate, "unit zone"),
    exp.DateTrunc: rule(_truncate, "unit zone"),
    exp.Extract: rule(_extract),
    exp.Year: _part_function("year"),
    exp.Quarter: _part_function("quarter"),
    exp.Month: _part_function("month"),
    exp.Week: _part_function("week"),
    exp.Day: _part_function("day"),
    exp.DayOfYear: _part_function("doy"),
    exp.DayOfWeek: _part_function("dow"),
    exp.DayOfWeekIso: _part_function("isodow"),
    exp.Hour: _part_function("hour"),
    exp.Minute: _part_function("minute"),
    exp.Second: _part_function("second"),
    exp.TimeToUnix: _part_function("epoch"),
    exp.DateDiff: rule(_difference, "unit date_part_boundary"),
    exp.DateAdd: rule(_date_add, "unit"),
    exp.LastDay: rule(_last_day),
    exp.Dayname: _name("isodow", _DAYS),
    exp.Monthname: _name("month", _MONTHS),
}
POSTGRES: dict[type[exp.Expr], Rule] = {exp.DateFromParts: rule(_make_date, "year month day")}
FUNCTIONS: dict[str, Rule] = {"date_part": rule(_date_part), "datepart": rule(_date_part)}
