"""Exact arithmetic that more than one dialect asks of DuckDB."""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects.dialect import EXACT, Translation


def nonzero(t: Translation, divisor: exp.Expr) -> None:
    """RefusedError unless ``divisor`` can't be zero: the warehouses raise where DuckDB gives infinity."""
    bare = divisor.unnest()
    if isinstance(bare, exp.Neg):
        bare = bare.this
    while isinstance(bare, (exp.Cast, exp.Paren)):
        bare = bare.this
    if isinstance(bare, exp.Literal) and not bare.is_string and float(bare.name) != 0:
        return
    if isinstance(bare, exp.Nullif) and _zero(bare.expression):
        return
    raise t.refused(
        divisor, f"a division by zero fails in {t.dialect.name}, and does not in DuckDB", "divide by NULLIF(…, 0)"
    )


def _zero(node: exp.Expr) -> bool:
    bare = node.unnest()
    while isinstance(bare, (exp.Cast, exp.Paren)):
        bare = bare.this
    return isinstance(bare, exp.Literal) and not bare.is_string and float(bare.name) == 0


def all_exact(t: Translation, *nodes: exp.Expr) -> bool:
    """Whether every operand is an integer or a decimal."""
    return all(t.kind_of(n) in EXACT for n in nodes)


def literal_count(t: Translation, node: exp.Expr | None, least: int, what: str) -> int:
    """The number that ``node`` is; RefusedError unless it is a literal of at least ``least``."""
    bare = node.unnest() if node is not None else None
    if isinstance(bare, exp.Literal) and not bare.is_string and bare.name.isdigit() and int(bare.name) >= least:
        return int(bare.name)
    assert node is not None
    raise t.refused(
        node, f"{what} means the same in DuckDB only as a literal from {least} up", f"write a literal {what}"
    )
