"""strftime: the common codes of a format, each with ClickHouse's own."""

from __future__ import annotations

import re

from sqlglot import exp

from realtime.transpile.form import call
from realtime.transpile.lower import Lower, Rule, refused, rule
from realtime.transpile.rules.moments import timestamp
from realtime.transpile.rules.text import constant_of

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


RULES: dict[type[exp.Expr], Rule] = {exp.TimeToStr: rule(_write, "format")}
