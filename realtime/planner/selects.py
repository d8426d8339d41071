"""The parts of a select: what it reads, by which conditions, and one of its expressions over what is below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from realtime.planner.ctes import resolve

Scope = Mapping[str, Mapping[str, exp.Expr]]
"""What each column of each relation in sight is, by their names."""


def relations_of(select: exp.Select) -> list[exp.Expr]:
    """What FROM reads, in order: tables, names of CTEs and subqueries."""
    origin = select.args.get("from_")
    return [*([origin.this] if origin is not None else []), *(j.this for j in select.args.get("joins") or [])]


def query_of(relation: exp.Expr) -> exp.Expr | None:
    """The query that ``relation`` stands for; None where it is a table."""
    cte = resolve(relation) if isinstance(relation, exp.Table) else None
    if cte is not None:
        found: exp.Expr = cte.this
        return found
    return relation.this if isinstance(relation, exp.Subquery) else None


def conditions_of(clause: exp.Expr | None) -> Iterator[exp.Expr]:
    """What WHERE, HAVING or ON joins by AND, parentheses aside."""
    if clause is None:
        return
    condition = (clause.this if isinstance(clause, (exp.Where, exp.Having)) else clause).unnest()
    for part in condition.flatten() if isinstance(condition, exp.And) else ():
        yield from conditions_of(part)
    if not isinstance(condition, exp.And):
        yield condition


def moved(node: exp.Expr, scope: Scope) -> exp.Expr:
    """A copy of ``node`` with the columns of ``scope`` replaced by what they are."""

    def put(inner: exp.Expr) -> exp.Expr:
        if isinstance(inner, exp.Column) and inner.table in scope:
            return wrapped(scope[inner.table][inner.name].copy())
        return inner

    return node.copy().transform(put)


def wrapped(value: exp.Expr) -> exp.Expr:
    """``value`` so that it keeps its meaning wherever it is put."""
    whole = isinstance(value, (exp.Column, exp.Case, exp.Paren, exp.Anonymous, exp.Literal))
    return value if whole else exp.paren(value, copy=False)
