"""Streams: queries that handle each row by itself, so that an insert into their landing table is all they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlglot import exp

from realtime.planner.ctes import resolve

# What makes a select more than a map and a filter of single rows.
_STATEFUL = ("distinct", "group", "having", "qualify", "windows", "limit", "offset", "laterals", "sample")
Node = TypeVar("Node", bound=exp.Expr)
Landing = Callable[[exp.Table], bool]


def stream_tables(source: exp.Expr, landing: Landing) -> list[exp.Table] | None:
    """Landing tables below ``source`` (a table, CTE name, subquery or query), one per branch of a UNION ALL.

    None where ``source`` is not a stream. ``landing`` says whether a relation takes appended rows.
    """
    if isinstance(source, exp.Table):
        cte = resolve(source)
        if cte is not None:
            return stream_tables(cte.this, landing)
        return [source] if landing(source) else None
    if isinstance(source, exp.Subquery):
        return stream_tables(source.this, landing)
    if isinstance(source, exp.Union) and not source.args.get("distinct") and not source.args.get("by_name"):
        left, right = (stream_tables(side, landing) for side in (source.this, source.expression))
        return None if left is None or right is None else left + right
    if isinstance(source, exp.Select) and stateless(source):
        return stream_tables(source.args["from_"].this, landing)
    return None


def stateless(select: exp.Select) -> bool:
    """Whether ``select`` maps and filters single rows of one source."""
    if any(select.args.get(part) for part in _STATEFUL) or select.args.get("from_") is None:
        return False
    if any(join.args.get("kind") != "ARRAY" for join in select.args.get("joins") or []):
        return False
    return not any(map(collects, own_expressions(select, exp.Window, exp.Query, exp.Anonymous)))


def own_expressions(select: exp.Select, *kinds: type[Node]) -> Iterator[Node]:
    """Nodes of ``kinds``, which are no columns, in the select list and the conditions of ``select``; nested queries
    are not entered."""
    parts = [*select.expressions]
    parts += [
        select.args[p] for p in ("where", "group", "having", "qualify", "order") if select.args.get(p) is not None
    ]
    for part in parts:
        if isinstance(part.unalias(), exp.Column):
            continue  # most are, and none of them is asked for
        # Without a callback for every node sqlglot searches ten times as fast, and few expressions hold a query.
        if part.find(exp.Query) is None:
            yield from part.find_all(*kinds)
        else:
            yield from (n for n in part.walk(prune=lambda n: isinstance(n, exp.Query)) if isinstance(n, kinds))


def is_component(node: exp.Expr) -> bool:
    """Whether ``node`` is an aggregate call that a state can keep (`realtime.transpile.transpile.Compiled`)."""
    return bool(node.meta_get("component"))


def collects(node: exp.Expr) -> bool:
    """Whether ``node`` depends on more than its own row."""
    return isinstance(node, (exp.Window, exp.Query)) or is_component(node)


def chain(source: exp.Expr) -> Iterator[exp.Select]:
    """Selects of a stream from ``source`` down to its landing table; a stream without UNION ALL."""
    at: exp.Expr | None = source
    while at is not None:
        if isinstance(at, exp.Table):
            cte = resolve(at)
            at = cte.this if cte is not None else None
        elif isinstance(at, exp.Subquery):
            at = at.this
        elif isinstance(at, exp.Select):
            yield at
            at = at.args["from_"].this
        else:
            raise AssertionError(f"not a linear stream: {at.key}")
