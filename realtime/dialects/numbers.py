"""Exact arithmetic that more than one dialect asks of DuckDB."""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects.dialect import Translation


def nonzero(t: Translation, node: exp.Binary | exp.Func) -> None:
    """RefusedError unless the divisor of ``node`` can't be zero: the warehouses raise where DuckDB gives infinity."""
    divisor = node.expression
    bare = _bare(divisor)
    if isinstance(bare, exp.Literal) and not bare.is_string and float(bare.name) != 0:
        return
    if isinstance(bare, exp.Nullif) and _zero(bare.expression):
        return
    if not _guarded(node, divisor):
        raise t.refused(
            divisor, f"a division by zero fails in {t.dialect.name}, and does not in DuckDB", "divide by NULLIF(…, 0)"
        )


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, (exp.Cast, exp.Paren, exp.Neg)):
        node = node.this
    return node


def _guarded(node: exp.Expr, divisor: exp.Expr) -> bool:
    """Whether ``node`` is what IF or CASE gives else, once ``divisor = 0`` was asked."""
    at = node
    while isinstance(at.parent, (exp.Cast, exp.Paren)):
        at = at.parent
    around = at.parent
    if isinstance(around, exp.Case) and at.arg_key == "default":
        return any(_asks(when.this, divisor) for when in around.args["ifs"])
    return isinstance(around, exp.If) and at.arg_key == "false" and _asks(around.this, divisor)


def _asks(condition: exp.Expr, divisor: exp.Expr) -> bool:
    """Whether ``condition`` holds wherever ``divisor`` is zero and the quotient is not NULL."""
    bare = condition.unnest()
    if isinstance(bare, exp.EQ):
        return bare.this.unnest() == divisor.unnest() and _zero(bare.expression)
    if isinstance(bare, exp.Or):
        return _asks(bare.this, divisor) or _asks(bare.expression, divisor)
    # sqlglot's form of DIV0: b = 0 AND NOT a IS NULL.
    return isinstance(bare, exp.And) and _asks(bare.this, divisor) and isinstance(bare.expression.unnest(), exp.Not)


def _zero(node: exp.Expr) -> bool:
    bare = _bare(node)
    return isinstance(bare, exp.Literal) and not bare.is_string and float(bare.name) == 0


def scale_of(t: Translation, node: exp.Expr) -> int:
    """Digits after the point of an exact number."""
    return t.type_of(node).scale


def literal_count(t: Translation, node: exp.Expr | None, least: int, what: str) -> int:
    """The number that ``node`` is; RefusedError unless it is a literal of at least ``least``."""
    bare = node.unnest() if node is not None else None
    if isinstance(bare, exp.Literal) and not bare.is_string and bare.name.isdigit() and int(bare.name) >= least:
        return int(bare.name)
    assert node is not None
    raise t.refused(
        node, f"{what} means the same in DuckDB only as a literal from {least} up", f"write a literal {what}"
    )
