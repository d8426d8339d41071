"""strftime and strptime: the common codes of a format.

strftime's codes are ClickHouse's own. For strptime a format becomes a regular expression that takes what DuckDB takes,
whose groups are put together as ISO text.
"""

from __future__ import annotations

import re

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.form import text as literal
from realtime.transpile.lower import Lower, Rule, refused, rule
from realtime.transpile.rules import text_moments
from realtime.transpile.rules.moments import timestamp
from realtime.transpile.rules.text import constant_of, text_of
from realtime.transpile.types import TIMESTAMP, VARCHAR

WRITTEN: dict[str, str] = {
    "Y": "%Y", "y": "%y", "m": "%m", "d": "%d", "H": "%H", "I": "%I", "M": "%i", "S": "%S", "f": "%f", "p": "%p",
    "j": "%j", "b": "%b", "a": "%a", "A": "%W", "F": "%Y-%m-%d", "T": "%H:%i:%S", "u": "%u", "V": "%V", "G": "%G",
    "%": "%%",
}  # fmt: skip
_CODE = re.compile(r"%(-?.|$)")


def _translated(node: exp.Expr, given: str, known: dict[str, str]) -> str:
    unknown = [c for c in _CODE.findall(given) if c not in known]
    if unknown:
        codes = " ".join(f"%{c}" for c in known)
        raise refused(node, f"%{unknown[0]} in a format", remedy=f"use {codes}")
    return _CODE.sub(lambda match: known[match[1]], given)


def _write(lower: Lower, node: exp.TimeToStr) -> exp.Expr:
    moment, pattern = node.this, node.args["format"]
    if isinstance(moment, exp.Literal) and moment.is_string:  # DuckDB takes the two in either order
        moment, pattern = pattern, moment
    given = constant_of(pattern, "a format")
    return call("formatDateTime", timestamp(lower, moment), _translated(node, given, WRITTEN), "UTC")


# Digits of a number, as few as one; exactly as many where a number follows without anything between.
READ: dict[str, tuple[str, str]] = {
    "Y": (r"(\d{1,4})", r"(\d{4})"),
    "m": (r"(\d{1,2})", r"(\d{2})"),
    "d": (r"(\d{1,2})", r"(\d{2})"),
    "H": (r"([01]?\d|2[0-3])", r"([01]\d|2[0-3])"),
    "M": (r"(\d{1,2})", r"(\d{2})"),
    "S": (r"([0-5]?\d)", r"([0-5]\d)"),
    "f": (r"(\d{1,6})", r"(\d{6})"),
}
_ABSENT = {"Y": "1900", "m": "1", "d": "1", "H": "0", "M": "0", "S": "0", "f": "0"}
_PIECES = re.compile(r"%-?(.)|( +)|([^% ]+)|(%)")
# DuckDB takes these under every format; no answer of ClickHouse's would be right.
_BEYOND = r"(?i)^\s*(?:epoch|-?infinity)\s*$"
_BLANKS = r"[ \t\n\v\f\r]"


def _shape(node: exp.Expr, given: str) -> tuple[str, list[str]]:
    """The regular expression of a format, and which code each of its groups stands for."""
    pieces = _PIECES.findall(given)
    codes = [code for code, *_ in pieces if code]
    unknown = [c for c in codes if c not in READ] + ["" for *_, lone in pieces if lone]
    if unknown or len(set(codes)) < len(codes) or given != given.strip():
        named = " ".join(f"%{c}" for c in READ)
        raise refused(node, f"this format of strptime: {given!r}", remedy=f"use each of {named} once, no blanks around")
    shape = ""
    for at, (code, blanks, text, _) in enumerate(pieces):
        following = pieces[at + 1] if at + 1 < len(pieces) else ("", "", "", "")
        if code and following[2][:1].isdigit():
            raise refused(node, "a digit after a number in a format", remedy="put a separator between")
        shape += READ[code][bool(following[0])] if code else f"{_BLANKS}+" if blanks else re.escape(text)
    return f"^{_BLANKS}*{shape}{_BLANKS}*$", codes


def _parsed(lower: Lower, node: exp.Expr, value: exp.Expr, pattern: exp.Expr, *, try_: bool) -> exp.Expr:
    shape, codes = _shape(node, constant_of(pattern, "a format"))
    x = text_of(lower, value)
    parts = {
        code: form("arrayElement(_f, n)", n=codes.index(code) + 1) if code in codes else literal(_ABSENT[code])
        for code in READ
    }
    iso = form("concat(Y, '-', m, '-', d, ' ', H, ':', M, ':', S, '.', f)", **parts)
    template = """arrayElement(arrayMap(_f -> if(empty(_f), NULL, iso),
        [extractGroups(assumeNotNull(ifNull(x, '')), shape)]), 1)"""
    moment = text_moments.parsed(form(template, iso=iso, x=x, shape=shape), VARCHAR, TIMESTAMP, True)
    failed = form("match(ifNull(x, ''), beyond)" if try_ else "isNotNull(x)", x=x, beyond=_BEYOND)
    template = "if(isNull(moment) AND failed, toDateTime64(throwIf(1, 'text has another format'), 6, 'UTC'), moment)"
    return cast(form(template, failed=failed, moment=moment), TIMESTAMP.clickhouse)


def _read(lower: Lower, node: exp.StrToTime) -> exp.Expr:
    return _parsed(lower, node, node.this, node.args["format"], try_=False)


def _try_read(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    value, pattern = node.expressions
    return _parsed(lower, node, value, pattern, try_=True)


RULES: dict[type[exp.Expr], Rule] = {exp.TimeToStr: rule(_write, "format"), exp.StrToTime: rule(_read, "format")}
FUNCTIONS: dict[str, Rule] = {"try_strptime": rule(_try_read)}
