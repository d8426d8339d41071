"""Letters and bytes by number: ascii, unicode, chr and hex."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, form
from realtime.transpile.form import text as literal
from realtime.transpile.lower import Lower, Rule, refused, rule
from realtime.transpile.rules.text import text_of, whole

# The first letter by its bytes in UTF-8, of which the first tells how many there are.
_FIRST = """toInt32(arrayElement(arrayMap(_b -> multiIf(
    _b[1] < 128, toInt64(_b[1]),
    _b[1] < 224, (_b[1] - 192) * 64 + _b[2] - 128,
    _b[1] < 240, ((_b[1] - 224) * 64 + _b[2] - 128) * 64 + _b[3] - 128,
    (((_b[1] - 240) * 64 + _b[2] - 128) * 64 + _b[3] - 128) * 64 + _b[4] - 128),
    [arrayMap(_i -> toInt64(reinterpretAsUInt8(substring(ifNull(x, ''), _i, 1))), [1, 2, 3, 4])]), 1))"""


def _code(of_nothing: int) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        x = text_of(lower, node.expressions[0] if isinstance(node, exp.Anonymous) else node.this)
        nothing = call("toInt32", str(of_nothing))
        return form("multiIf(isNull(x), NULL, x = '', nothing, first)", x=x, nothing=nothing, first=form(_FIRST, x=x))

    return build


def _chr(lower: Lower, node: exp.Chr) -> exp.Expr:
    code = whole(node.expressions[0]) if len(node.expressions) == 1 else None
    if code is None or not 0 < code < 0x110000 or 0xD800 <= code < 0xE000:
        raise refused(node, "chr of what is no constant code point", remedy="write chr(10), or the letter itself")
    return literal(chr(code))


def _hex(lower: Lower, node: exp.Func) -> exp.Expr:
    return call("hex", text_of(lower, node.this))


RULES: dict[type[exp.Expr], Rule] = {
    exp.Ascii: rule(_code(0)),
    exp.Unicode: rule(_code(-1)),
    exp.Chr: rule(_chr),
    exp.Hex: rule(_hex),
}
FUNCTIONS: dict[str, Rule] = {"ord": rule(_code(-1))}
