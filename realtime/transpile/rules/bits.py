"""Operations on the bits of integers."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.types import DuckType, Kind


def _of_two(function: str) -> Callable[[Lower, exp.Binary], exp.Expr]:
    def build(lower: Lower, node: exp.Binary) -> exp.Expr:
        found = type_of(node)
        if found.kind is not Kind.INTEGER:
            raise refused(node, f"bits of {found}", remedy="cast both sides to integers")
        sides = [cast(lower.to(side, found), found.clickhouse) for side in (node.left, node.right)]
        return cast(call(function, *sides), found.clickhouse)

    return build


def _not(lower: Lower, node: exp.BitwiseNot) -> exp.Expr:
    found = type_of(node)
    if found.kind is not Kind.INTEGER:
        raise refused(node, f"bits of {found}", remedy="cast it to an integer")
    return call("bitNot", cast(lower(node.this), found.clickhouse))


def _left(lower: Lower, node: exp.BitwiseLeftShift) -> exp.Expr:
    """Errors for negative operands, and where a bit is lost."""
    found, x, n = _shifted(lower, node)
    bits = int(found.base.lstrip("UInt"))
    most = bits if found.name.startswith("U") else bits - 1
    template = """bitShiftLeft(toInt256(x), n) + throwIf(ifNull(x < 0 OR n < 0 OR (x > 0 AND n >= most), 0), 'shift')"""
    return call("accurateCast", form(template, x=x, n=n, most=most), found.clickhouse)


def _right(lower: Lower, node: exp.BitwiseRightShift) -> exp.Expr:
    """Whole halves, down; of too many places, or of fewer than none, 0."""
    found, x, n = _shifted(lower, node)
    bits = int(found.base.lstrip("UInt"))
    template = "if(n < 0 OR n >= bits, x * 0, bitShiftRight(x, if(n < 0 OR n >= bits, 0, n)))"
    return cast(form(template, x=x, n=n, bits=bits), found.clickhouse)


def _shifted(lower: Lower, node: exp.Binary) -> tuple[DuckType, exp.Expr, exp.Expr]:
    found = type_of(node)
    if found.kind is not Kind.INTEGER or found.digits > 20:
        raise refused(node, f"shifting {found}", remedy="cast both sides to BIGINT")
    return (
        found,
        cast(lower.to(node.left, found), found.clickhouse),
        cast(lower.to(node.right, found), found.clickhouse),
    )


def _count(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    (value,) = node.expressions
    found = type_of(value)
    if found.kind is not Kind.INTEGER or found.digits > 20:
        raise refused(node, f"bits of {found}", remedy="cast it to BIGINT")
    return call("bitCount", lower(value))


RULES: dict[type[exp.Expr], Rule] = {
    exp.BitwiseAnd: rule(_of_two("bitAnd")),
    exp.BitwiseOr: rule(_of_two("bitOr")),
    exp.BitwiseXor: rule(_of_two("bitXor")),
    exp.BitwiseNot: rule(_not),
    exp.BitwiseLeftShift: rule(_left, "requires_int128"),
    exp.BitwiseRightShift: rule(_right, "requires_int128"),
}
FUNCTIONS: dict[str, Rule] = {"bit_count": rule(_count)}
