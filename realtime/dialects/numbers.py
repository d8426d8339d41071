"""Exact arithmetic that more than one dialect asks of DuckDB."""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects.dialect import Translation
from realtime.transpile.types import Kind


def nonzero(t: Translation, node: exp.Binary | exp.Func) -> None:
    """RefusedError unless the divisor of ``node`` can't be zero: the warehouses raise where DuckDB gives infinity."""
    divisor = node.expression
    bare = _bare(t, divisor)
    if isinstance(bare, exp.Literal) and not _zero(bare):
        return
    if isinstance(bare, exp.Nullif) and _zero(bare.expression):
        return
    if not _guarded(node, divisor):
        raise t.refused(
            divisor, f"a division by zero fails in {t.dialect.name}, and does not in DuckDB", "divide by NULLIF(…, 0)"
        )


def _bare(t: Translation, node: exp.Expr) -> exp.Expr:
    """``node`` without what keeps zero zero and the rest not zero; a cast that rounds does not."""
    while True:
        if isinstance(node, exp.Cast) and not node.to.is_type("double") and t.kind_of(node.this) is not Kind.INTEGER:
            return node
        if not isinstance(node, (exp.Cast, exp.Paren, exp.Neg)):
            return node
        node = node.this


def _guarded(node: exp.Binary | exp.Func, divisor: exp.Expr) -> bool:
    """Whether ``node`` is what IF or CASE gives else, once ``divisor = 0`` was asked."""
    at: exp.Expr = node
    while isinstance(at.parent, (exp.Cast, exp.Paren)):
        at = at.parent
    around = at.parent
    if isinstance(around, exp.Case) and at.arg_key == "default":
        asked = [when.this for when in around.args["ifs"]] if around.this is None else []
    elif isinstance(around, exp.If) and at.arg_key == "false":
        asked = [around.this]
    else:
        return False
    return any(_asks(condition, node.this.unnest(), divisor.unnest()) for condition in asked)


def _asks(condition: exp.Expr, numerator: exp.Expr, divisor: exp.Expr) -> bool:
    """Whether ``condition`` holds wherever ``divisor`` is zero and the quotient is not NULL."""
    bare = condition.unnest()
    if isinstance(bare, exp.EQ):
        return bare.this.unnest() == divisor and _zero(bare.expression)
    if isinstance(bare, exp.Or):
        return _asks(bare.this, numerator, divisor) or _asks(bare.expression, numerator, divisor)
    # sqlglot's form of DIV0: b = 0 AND NOT a IS NULL.
    known = exp.Not(this=exp.Is(this=numerator.copy(), expression=exp.null()))
    return isinstance(bare, exp.And) and _asks(bare.this, numerator, divisor) and bare.expression.unnest() == known


def _zero(node: exp.Expr) -> bool:
    bare = node.unnest()
    while isinstance(bare, (exp.Cast, exp.Paren, exp.Neg)):
        bare = bare.this
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
