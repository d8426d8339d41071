"""lower() and upper(): code point by code point, with DuckDB's table of letters.

ClickHouse's ``lowerUTF8`` and ``upperUTF8`` differ from it on 56 and 157 code points (`casemap.json`, found by
comparing all of them). Those are moved out of the way, into private use, before the call and to their right letter
after it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from sqlglot import exp

from realtime.transpile.form import call
from realtime.transpile.lower import Lower, Rule, rule
from realtime.transpile.rules.text import text_of

_PRIVATE_USE = 0xF0000


@functools.cache
def _differing(direction: str) -> tuple[str, str, str]:
    """The letters that differ, the places to keep them in, and what they become."""
    pairs = json.loads(Path(__file__).with_name("casemap.json").read_text())[direction]
    letters = "".join(chr(code) for code, _ in pairs)
    return letters, "".join(chr(_PRIVATE_USE + i) for i in range(len(pairs))), "".join(to for _, to in pairs)


def changed(x: exp.Expr, direction: str) -> exp.Expr:
    """The text ``x`` in ``direction``, ``lower`` or ``upper``."""
    letters, kept, become = _differing(direction)
    return call("translateUTF8", call(f"{direction}UTF8", call("translateUTF8", x, letters, kept)), kept, become)


def _case(direction: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        return changed(text_of(lower, node.this), direction)

    return build


RULES: dict[type[exp.Expr], Rule] = {exp.Lower: rule(_case("lower")), exp.Upper: rule(_case("upper"))}
