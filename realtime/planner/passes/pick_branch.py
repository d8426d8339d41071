"""One copy of a query per branch of the UNION ALL it reads.

A materialized view over a UNION ALL takes the rows of one branch only (ClickHouse issue 83071), so each
branch gets a view of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from realtime.planner.ctes import prune, resolve


def pick_branch(query: exp.Select) -> Iterator[exp.Select]:
    """Copies of the standalone ``query`` that each read one branch; the query itself where there is no union."""
    union = _union(query.args["from_"].this)
    if union is None:
        yield query
        return
    for side in ("this", "expression"):
        copy = query.copy()
        found = _union(copy.args["from_"].this)
        assert found is not None
        found.replace(_as_query(found.args[side]))
        prune(copy)
        yield from pick_branch(copy)


def _union(source: exp.Expr) -> exp.Union | None:
    """The first UNION below ``source`` on the way to the landing table."""
    at: exp.Expr | None = source
    while at is not None:
        if isinstance(at, exp.Union):
            return at
        if isinstance(at, exp.Table):
            cte = resolve(at)
            at = cte.this if cte is not None else None
        elif isinstance(at, exp.Subquery):
            at = at.this
        else:
            at = at.args["from_"].this
    return None


def _as_query(branch: exp.Expr) -> exp.Expr:
    return branch.this if isinstance(branch, exp.Subquery) and not branch.alias else branch
