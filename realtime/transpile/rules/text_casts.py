"""Text to numbers, truth and UUIDs, read as DuckDB reads it: guarded parsers, for ClickHouse's own take other text."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.rules import text_moments
from realtime.transpile.rules.rounding import within
from realtime.transpile.types import DuckType, Kind

_WHOLE = r"^[-+]?[0-9]+(_[0-9]+)*$"
_HEXADECIMAL, _BINARY = r"^0[xX][0-9a-fA-F]{1,32}$", r"^0[bB][01]{1,64}$"
_FRACTION = r"^[-+]?([0-9]+(_[0-9]+)*\.?([0-9]+(_[0-9]+)*)?|\.[0-9]+(_[0-9]+)*)([eE][-+]?[0-9](_?[0-9]){0,2})?$"
_INTEGER = """multiIf(
    match(t, whole), toInt256OrNull(replaceAll(t, '_', '')),
    match(t, hexadecimal),
        toInt256(reinterpretAsUInt128(reverse(unhex(leftPad(substring(ifNull(t, '0x0'), 3), 32, '0'))))),
    match(t, binary),
        toInt256(reinterpretAsUInt64(reverse(unbin(leftPad(substring(ifNull(t, '0b0'), 3), 64, '0'))))),
    match(t, fraction), toInt256(round(toDecimal256OrNull(replaceAll(t, '_', ''), 30))),
    NULL)"""


def _checked(parsed: exp.Expr, x: exp.Expr, zero: str, try_: bool) -> exp.Expr:
    """``parsed``; where it is NULL and ``x`` is not, an error unless ``try_``. ``zero`` turns 0 into its type."""
    if try_:
        return parsed
    failed = call(zero, call("throwIf", 1, "text can't be cast"))
    return form("if(isNotNull(x) AND isNull(parsed), failed, parsed)", x=x, parsed=parsed, failed=failed)


def _trimmed(x: exp.Expr) -> exp.Expr:
    return call("trimBoth", x, " \t\n\v\f\r")


def _integer(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    shapes = {"whole": _WHOLE, "hexadecimal": _HEXADECIMAL, "binary": _BINARY, "fraction": _FRACTION}
    if b.name.startswith("U"):
        # An unsigned number takes no sign before a fraction, not even of what rounds to 0.
        shapes["fraction"] = _FRACTION.replace("[-+]?", "[+]?", 1)
    wide = _checked(form(_INTEGER, t=_trimmed(x), **shapes), x, "toInt256", try_)
    return call("accurateCastOrNull", wide, b.base) if try_ else call("accurateCast", wide, f"Nullable({b.base})")


def _float(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    text = form("if(match(t, fraction), replaceAll(t, '_', ''), t)", t=_trimmed(x), fraction=_FRACTION)
    return cast(_checked(call("toFloat64OrNull", text), x, "toFloat64", try_), b.clickhouse)


def _decimal(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    # 20 more places than wanted, so that the rounding sees the digits that are cut off.
    parsed = form(
        "if(match(t, fraction), round(toDecimal256OrNull(replaceAll(t, '_', ''), long), places), NULL)",
        t=_trimmed(x), fraction=_FRACTION, long=b.scale + 20, places=b.scale,
    )  # fmt: skip
    known = parsed if try_ else form("if(isNotNull(x) AND isNull(p), p + throwIf(1, 'text'), p)", x=x, p=parsed)
    return cast(within(known, b, try_), b.clickhouse)


def _boolean(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    template = """multiIf(lower(x) IN ('true', 't', '1', 'yes', 'y'), true,
        lower(x) IN ('false', 'f', '0', 'no', 'n'), false, NULL)"""
    return cast(_checked(form(template, x=x), x, "toBool", try_), b.clickhouse)


def _uuid(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    bare = form("replaceRegexpOne(x, braced, kept)", x=x, braced=r"^\{(.*)\}$", kept=r"\1")
    return call("toUUIDOrNull" if try_ else "toUUID", bare)


PARSERS: dict[Kind, Callable[[exp.Expr, DuckType, DuckType, bool], exp.Expr]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    **text_moments.PARSERS,
    Kind.UUID: _uuid,
}
"""Parsers of text by the kind they give; a failure throws, or gives NULL for TRY_CAST."""
