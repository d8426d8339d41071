"""lower() and upper(): code point by code point, with DuckDB's table of letters.

ClickHouse's ``lowerUTF8`` and ``upperUTF8`` differ from it on 56 and 157 code points (`casemap.json`, found by
comparing all of them). A text that holds one of those is cut at them, and each piece goes its own way.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from sqlglot import exp

from realtime.transpile.form import call, form
from realtime.transpile.lower import Lower, Rule, rule
from realtime.transpile.rules.text import text_of

_PIECES = """arrayStringConcat(arrayMap(_piece -> if(match(_piece, any), translateUTF8(_piece, letters, become),
    plain(_piece)), extractAll(assumeNotNull(x), pieces)))"""


@functools.cache
def _differing(direction: str) -> tuple[str, str]:
    """The letters that differ, and what they become."""
    pairs = json.loads(Path(__file__).with_name("casemap.json").read_text())[direction]
    return "".join(chr(code) for code, _ in pairs), "".join(to for _, to in pairs)


@functools.cache
def _ranges(letters: str) -> str:
    """``letters`` as the inside of a regular expression's class."""
    codes = sorted(map(ord, letters))
    starts = [c for c in codes if c - 1 not in codes]
    ends = [c for c in codes if c + 1 not in codes]
    return "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))


def changed(x: exp.Expr, direction: str) -> exp.Expr:
    """The text ``x`` in ``direction``, ``lower`` or ``upper``."""
    if not isinstance(x, (exp.Column, exp.Literal)):
        # A list of one gives the text a name, so that it is written, and computed, once.
        return form(
            "arrayElement(arrayMap(_text -> value, [x]), 1)", value=_changed(exp.column("_text"), direction), x=x
        )
    return _changed(x, direction)


def _changed(x: exp.Expr, direction: str) -> exp.Expr:
    letters, become = _differing(direction)
    ranges, plain = _ranges(letters), f"{direction}UTF8"
    pieces = form(
        _PIECES.replace("plain", plain), x=x, letters=letters, become=become,
        any=f"[{ranges}]", pieces=f"[{ranges}]+|[^{ranges}]+",
    )  # fmt: skip
    return form("if(match(x, any), pieces, plain)", x=x, any=f"[{ranges}]", pieces=pieces, plain=call(plain, x))


def _case(direction: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        return changed(text_of(lower, node.this), direction)

    return build


RULES: dict[type[exp.Expr], Rule] = {exp.Lower: rule(_case("lower")), exp.Upper: rule(_case("upper"))}
