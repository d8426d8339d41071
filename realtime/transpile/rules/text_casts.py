"""Text to numbers, dates and times, read as DuckDB reads it: guarded parsers, for ClickHouse's own take other text."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.rules.rounding import within
from realtime.transpile.types import DuckType, Kind

_INTEGER = """multiIf(
    match(t, '^[-+]?[0-9]+(_[0-9]+)*$'), toInt256OrNull(replaceAll(t, '_', '')),
    match(t, '^0[xX][0-9a-fA-F]{1,15}$'),
        toInt256(reinterpretAsInt64(reverse(unhex(leftPad(substring(ifNull(t, '0x0'), 3), 16, '0'))))),
    match(t, '^[-+]?([0-9]+\\\\.[0-9]*|\\\\.[0-9]+)([eE][-+]?[0-9]{1,3})?$') OR match(t, '^[-+]?[0-9]+[eE][-+]?[0-9]{1,3}$'),
        toInt256(round(toDecimal256OrNull(t, 30))),
    NULL)"""
_DIGITS = "if(match(t, '^[-+]?[0-9]+(_[0-9]+)+'), replaceAll(t, '_', ''), t)"
_DATE = "^([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})"
_DATE_ONLY = (
    "^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$|^[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}$"
    "|^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,6})?)?$"
)
_MOMENT = "^([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})(?:[ T]([0-9]{1,2}):([0-9]{1,2})(?::([0-9]{1,2})(?:\\.([0-9]{1,6}))?)?)?$"


def _checked(parsed: exp.Expr, x: exp.Expr, zero: str, try_: bool) -> exp.Expr:
    """``parsed``; where it is NULL and ``x`` is not, an error unless ``try_``. ``zero`` turns 0 into its type."""
    if try_:
        return parsed
    failed = call(zero, call("throwIf", 1, "text can't be cast"))
    found = form("if(isNotNull(x) AND isNull(parsed), failed, parsed)", x=x, parsed=parsed, failed=failed)
    found.meta["throws"] = True
    return found


def _trimmed(x: exp.Expr) -> exp.Expr:
    return call("trimBoth", x)


def _integer(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    wide = _checked(form(_INTEGER, t=_trimmed(x)), x, "toInt256", try_)
    return call("accurateCastOrNull", wide, b.base) if try_ else call("accurateCast", wide, f"Nullable({b.base})")


def _float(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    parsed = call("toFloat64OrNull", form(_DIGITS, t=_trimmed(x)))
    return cast(_checked(parsed, x, "toFloat64", try_), b.clickhouse)


def _decimal(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    # 20 more places than wanted, so that the rounding sees the digits that are cut off.
    parsed = form(
        "round(toDecimal256OrNull(t, long), places)", t=form(_DIGITS, t=_trimmed(x)), long=b.scale + 20, places=b.scale
    )
    known = parsed if try_ else form("if(isNotNull(x) AND isNull(p), p + throwIf(1, 'text'), p)", x=x, p=parsed)
    known.meta["throws"] = not try_
    return cast(within(known, b, try_), b.clickhouse)


def _boolean(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    template = """multiIf(lower(x) IN ('true', 't', '1', 'yes', 'y', 'on'), true,
        lower(x) IN ('false', 'f', '0', 'no', 'n', 'off'), false, NULL)"""
    return cast(_checked(form(template, x=x), x, "toBool", try_), b.clickhouse)


def _date(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    groups = form(
        "arrayMap(_group -> toInt32OrZero(_group), if(match(t, shape), extractGroups(assumeNotNull(ifNull(t, '')), parts), []))",
        t=_trimmed(x), shape=_DATE_ONLY, parts=_DATE,
    )  # fmt: skip
    return cast(_checked(_calendar(groups), x, "toDate32", try_), b.clickhouse)


def _calendar(groups: exp.Expr) -> exp.Expr:
    """The date of [year, month, day], NULL where there is none such."""
    template = """if(length(g) >= 3 AND arrayElement(g, 2) >= 1 AND arrayElement(g, 2) <= 12 AND arrayElement(g, 3) >= 1
        AND arrayElement(g, 3) <= toDayOfMonth(toLastDayOfMonth(makeDate32(
            greatest(arrayElement(g, 1), 1900), greatest(least(arrayElement(g, 2), 12), 1), 1))),
        makeDate32(arrayElement(g, 1), arrayElement(g, 2), arrayElement(g, 3)), NULL)"""
    return form(template, g=groups)


def _timestamp(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    groups = form("extractGroups(assumeNotNull(ifNull(t, '')), parts)", t=_trimmed(x), parts=_MOMENT)
    numbers = form("arrayMap(_group -> toInt32OrZero(_group), g)", g=groups)
    template = """if(length(n) = 7 AND arrayElement(n, 4) < 24 AND arrayElement(n, 5) < 60 AND arrayElement(n, 6) < 60,
        addMicroseconds(toDateTime64(day, 6, 'UTC'),
            ((toInt64(arrayElement(n, 4)) * 60 + arrayElement(n, 5)) * 60 + arrayElement(n, 6)) * 1000000
            + toInt64OrZero(substring(concat(arrayElement(g, 7), '000000'), 1, 6))), NULL)"""
    parsed = form(template, n=numbers, day=_calendar(numbers), g=groups)
    failed = call("toDateTime64", call("throwIf", 1, "text can't be cast"), 6, "UTC")
    if not try_:
        parsed = form("if(isNotNull(x) AND isNull(p), failed, p)", x=x, p=parsed, failed=failed)
        parsed.meta["throws"] = True
    return cast(parsed, b.clickhouse)


def _uuid(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    if try_:
        return call("toUUIDOrNull", x)
    found = call("toUUID", x)
    found.meta["throws"] = True
    return found


PARSERS: dict[Kind, Callable[[exp.Expr, DuckType, DuckType, bool], exp.Expr]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _timestamp,
    Kind.UUID: _uuid,
}
"""Parsers of text by the kind they give; a failure throws, or gives NULL for TRY_CAST."""
