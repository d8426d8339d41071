"""Text to dates and timestamps, read as DuckDB 2.0 reads it.

DuckDB takes ``2018-5-1``, ``2018/05/01``, a time after ``T`` or blanks, ``24:00:00``, and a zone, which only TIMESTAMP
WITH TIME ZONE heeds. What it takes and ClickHouse can't keep (``infinity``, years before 1 or after 9999, zones by
name) raises, also in TRY_CAST: neither NULL nor another moment would be its answer.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.types import DuckType, Kind

_DAY = r"\s*(\d{1,4})(?:-(\d{1,2})-|/(\d{1,2})/| (\d{1,2}) |\\(\d{1,2})\\)(\d{1,2})"
_TIME = r"(?:T\s*|\s+)(\d{1,2}):(\d{1,2})(?::(?:(\d{1,2})(?:\.(\d*))?)?)?"
_ZONE = r"(Z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?\s*"
_ANY_ZONE = r"(?:(?:Z|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?\s*| [A-Za-z0-9_/+-]+)"
_SHAPES = {
    Kind.DATE: f"^{_DAY}(?:{_TIME}{_ANY_ZONE}|\\s*)$",
    Kind.TIMESTAMP: f"^{_DAY}(?:{_TIME}{_ANY_ZONE})?$",
    Kind.TIMESTAMPTZ: f"^{_DAY}(?:{_TIME}(?:{_ZONE}| UTC))?$",
}
_BEYOND = r"(?i)^\s*(?:epoch|[+-]?inf|-\d+[-/ \\]|\d{5,}[-/ \\]|0{1,4}[-/ \\])|\(bc\)"
_NAMED_ZONE = r"|:.* [A-Za-z]"
# Groups of a shape: year, month after each of four separators, day, hour, minute, second, fraction, zone.
_YEAR, _MONTHS, _DAYS, _HOUR, _MINUTE, _SECOND, _FRACTION, _OFFSET = 1, (2, 3, 4, 5), 6, 7, 8, 9, 10, 11


def _group(number: int) -> exp.Expr:
    return form("arrayElement(g, n)", g=exp.column("_g"), n=number)


def _number(number: int) -> exp.Expr:
    return call("toInt32OrZero", _group(number))


def _day() -> exp.Expr:
    """The day that the groups name; NULL where there is none such."""
    month = call("toInt32OrZero", call("concat", *(_group(m) for m in _MONTHS)))
    first = form(
        "addMonths(toDate32('2000-01-01'), (y - 2000) * 12 + m - 1)",
        y=_number(_YEAR), m=call("greatest", month, 1),
    )  # fmt: skip
    day = form("addDays(first, d - 1)", first=first, d=_number(_DAYS))
    known = "if(m >= 1 AND m <= 12 AND d >= 1 AND d <= 31 AND toMonth(day) = m, day, NULL)"
    return form(known, day=day, m=month, d=_number(_DAYS))


def _hours_fit() -> exp.Expr:
    template = (
        """h < 24 AND m < 60 AND s < 60 OR h = 24 AND m = 0 AND s = 0 AND toInt64OrZero(substring(f, 1, 6)) = 0"""
    )
    return form(template, h=_number(_HOUR), m=_number(_MINUTE), s=_number(_SECOND), f=_group(_FRACTION))


def _moment(zoned: bool) -> exp.Expr:
    template = """if(fits, addMicroseconds(toDateTime64(day, 6, 'UTC'), ((toInt64(h) * 60 + m) * 60 + s) * 1000000
        + toInt64OrZero(substring(concat(f, '000000'), 1, 6))), NULL)"""
    moment = form(
        template, fits=_hours_fit(), day=_day(),
        h=_number(_HOUR), m=_number(_MINUTE), s=_number(_SECOND), f=_group(_FRACTION),
    )  # fmt: skip
    if not zoned:
        return moment
    digits = call("replaceAll", _group(_OFFSET), ":", "")
    template = """addSeconds(moment, if(startsWith(z, '-'), 1, -1) * ((toInt32OrZero(substring(z, 2, 2)) * 60
        + toInt32OrZero(substring(z, 4, 2))) * 60 + toInt32OrZero(substring(z, 6, 2))))"""
    return form(template, moment=moment, z=digits)


def _value(kind: Kind) -> exp.Expr:
    if kind is Kind.DATE:
        midnight = form("h = 0 AND m = 0 AND s = 0", h=_number(_HOUR), m=_number(_MINUTE), s=_number(_SECOND))
        return form("if(midnight OR fits, day, NULL)", midnight=midnight, fits=_hours_fit(), day=_day())
    return _moment(kind is Kind.TIMESTAMPTZ)


def parsed(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    """Text as the type ``b``; NULL for ``try_``, or an error, where it is none."""
    # A list of one, mapped, gives the groups a name; written out each time they are used they fill pages.
    template = """arrayElement(arrayMap(_g -> if(empty(_g), NULL, value),
        [extractGroups(assumeNotNull(ifNull(x, '')), shape)]), 1)"""
    value = form(template, value=_value(b.kind), x=x, shape=_SHAPES[b.kind])
    beyond = _BEYOND + (_NAMED_ZONE if b.kind is Kind.TIMESTAMPTZ else "")
    failed = "match(ifNull(x, ''), beyond)" if try_ else "isNotNull(x)"
    raised = form(
        "if(isNull(value) AND (failed), toDateTime64(throwIf(1, why), 6, 'UTC'), value)",
        value=value, failed=form(failed, x=x, beyond=beyond), why=f"text is no {b.name}",
    )  # fmt: skip
    if b.kind is Kind.DATE:
        raised = form(
            "if(isNull(value) AND (failed), toDate32(throwIf(1, why)), value)",
            value=value, failed=form(failed, x=x, beyond=beyond), why=f"text is no {b.name}",
        )  # fmt: skip
    return cast(raised, b.clickhouse)


PARSERS: dict[Kind, Callable[[exp.Expr, DuckType, DuckType, bool], exp.Expr]]
PARSERS = dict.fromkeys((Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ), parsed)
"""Parsers of text by the kind they give."""
