"""Where a column comes from: the table or query in FROM that has it, and what it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from realtime.transpile.types import Kind

Views = Callable[[exp.Table], exp.Query | None]
"""The typed query of a view, None for a table."""


def is_null_extended(column: exp.Column) -> bool:
    """Whether ``column`` is NULL in rows for which an outer join finds none on its side."""
    found = _origin(column)
    if found is None:
        return False
    select, at = found
    joins = select.args.get("joins") or []
    own = joins[at - 1].side if at else ""
    return own in ("LEFT", "FULL") or any(j.side in ("RIGHT", "FULL") for j in joins[max(at, 0) :])


def unsteady_average(node: exp.Expr, views: Views) -> exp.Expr | None:
    """What in ``node`` is, or comes from, a grouped average of decimals; None where nothing is.

    DuckDB divides such a sum by count and scale in one order or the other: its optimizer writes ``avg`` as
    ``sum / count`` where those are computed beside it, which depends on statistics of the data, too.
    """
    for found in node.walk(prune=lambda n: isinstance(n, exp.Query)):
        if isinstance(found, exp.Avg) and _is_unsteady(found):
            return found
        if (
            isinstance(found, exp.Column)
            and _is_float(found)
            and any(unsteady_average(d, views) for d in _definitions(found, views))
        ):
            return found
    return None


def _is_float(column: exp.Column) -> bool:
    found = column.meta.get("duck")
    return found is not None and found.kind is Kind.FLOAT


def _is_unsteady(average: exp.Avg) -> bool:
    select = average.find_ancestor(exp.Select)
    value = average.this.meta.get("duck")
    is_grouped = select is not None and select.args.get("group") is not None
    is_plain = not isinstance(average.this, exp.Distinct) and not isinstance(average.parent, (exp.Filter, exp.Window))
    return is_grouped and is_plain and value is not None and value.kind is Kind.DECIMAL


def _origin(column: exp.Column) -> tuple[exp.Select, int] | None:
    """The select whose FROM has the column's table, and its place there: 0, or n for the n-th join."""
    select = column.find_ancestor(exp.Select)
    while select is not None:
        for at, source in enumerate(_sources(select)):
            if source.alias_or_name == column.table:
                return select, at
        select = select.find_ancestor(exp.Select)
    return None


def _sources(select: exp.Select) -> list[exp.Expr]:
    origin = select.args.get("from_")
    return [origin.this, *(j.this for j in select.args.get("joins") or [])] if origin is not None else []


def _definitions(column: exp.Column, views: Views) -> Iterator[exp.Expr]:
    """The expressions of which ``column`` is the value, one per branch of a set operation."""
    found = _origin(column)
    source = _sources(found[0])[found[1]] if found is not None else None
    query = source.this if isinstance(source, exp.Subquery) else None
    if isinstance(source, exp.Table):
        query = cte_of(source) or views(source)
    if isinstance(query, exp.Query):
        yield from _projected(query, column.name)


def _projected(query: exp.Query, name: str) -> Iterator[exp.Expr]:
    names = [p.alias_or_name for p in query.selects]
    at = names.index(name) if name in names else None
    branches = [query]
    while branches and at is not None:
        branch = branches.pop().unnest()
        if isinstance(branch, exp.SetOperation):
            branches += [branch.this, branch.expression]
        elif isinstance(branch, exp.Select) and at < len(branch.expressions):
            yield branch.expressions[at].unalias()


def cte_of(table: exp.Expr) -> exp.Query | None:
    """The query of the CTE that ``table`` names; None for another table."""
    at: exp.Expr | None = table if isinstance(table, exp.Table) and not table.db else None
    while at is not None:
        for cte in getattr(at, "ctes", ()):
            if cte.alias == table.name and table.find_ancestor(exp.CTE) is not cte:
                found: exp.Query = cte.this
                return found
        at = at.parent
    return None
