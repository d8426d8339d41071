"""Operations on the bits of integers."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.types import Kind


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


RULES: dict[type[exp.Expr], Rule] = {
    exp.BitwiseAnd: rule(_of_two("bitAnd")),
    exp.BitwiseOr: rule(_of_two("bitOr")),
    exp.BitwiseXor: rule(_of_two("bitXor")),
    exp.BitwiseNot: rule(_not),
}
