"""``(SELECT sum(x) FROM t WHERE t.k = outer.k)`` to a LEFT JOIN of the sums grouped by ``k``.

ClickHouse aggregates a correlated subquery over its join with the outer rows: an outer row that occurs twice counts
each inner row twice (26.7, where one side is Nullable or the condition is no equality).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sqlglot import exp

from realtime.transpile.annotate import aggregated, is_aggregate

_OTHERS = ("group", "having", "qualify", "limit", "offset", "order", "distinct", "with_")


def join_correlated(tree: exp.Query) -> exp.Query:
    """Rewrites in place the correlated scalar subqueries of ``tree``, which is qualified, that are one aggregate tied
    to the rows around them by equalities alone; others are left, and refused later."""
    numbers = itertools.count(1)
    for node in list(tree.find_all(exp.Subquery)):
        outer, query = node.find_ancestor(exp.Select), node.this
        if outer is None or not isinstance(query, exp.Select) or not _is_value(node, outer):
            continue
        if outer.args.get("group") or any(aggregated(p) for p in outer.expressions):
            continue
        pairs = _equalities(query)
        if pairs and _is_plain(query):
            _join(node, outer, query, pairs, f"_correlated_{next(numbers)}")
    return tree


def own_tables(query: exp.Query) -> set[str]:
    """Names under which ``query`` or what is nested in it reads tables."""
    sources = {s.alias_or_name for s in query.find_all(exp.Table, exp.Subquery)}
    return sources | {c.alias for c in query.find_all(exp.CTE)}


def outer_columns(query: exp.Query) -> list[exp.Column]:
    """Columns in ``query`` of tables that it does not read itself."""
    own = own_tables(query)
    return [c for c in query.find_all(exp.Column) if c.table and c.table not in own]


def _is_value(node: exp.Subquery, outer: exp.Select) -> bool:
    """Whether ``node`` stands for a value in the select list or the filter of ``outer``."""
    if isinstance(node.parent, (exp.From, exp.Join, exp.In, exp.Exists, exp.SetOperation)):
        return False
    roots = [*outer.expressions, *([outer.args["where"]] if outer.args.get("where") else [])]
    return any(node is inner for root in roots for inner in root.walk(prune=lambda n: isinstance(n, exp.Query)))


def _is_plain(query: exp.Select) -> bool:
    """Whether ``query`` is one bare aggregate of a table, with a filter."""
    if len(query.expressions) != 1 or any(query.args.get(part) for part in _OTHERS):
        return False
    value = query.expressions[0].unalias()
    return is_aggregate(value) and not isinstance(value, exp.ArrayAgg)


def _equalities(query: exp.Select) -> list[tuple[exp.Expr, exp.Expr, exp.Expr]]:
    """Conjuncts that tie ``query`` to the rows around it, each with its own and its outer side; none where something
    else does, too."""
    own = own_tables(query)
    pairs, tied = [], set()
    for part in _conjuncts(query):
        found = part.unnest()
        if not isinstance(found, exp.EQ):
            continue
        left, right = ({c.table in own for c in side.find_all(exp.Column)} for side in (found.left, found.right))
        if (left, right) in (({True}, {False}), ({False}, {True})):
            inner, outer = (found.left, found.right) if left == {True} else (found.right, found.left)
            pairs.append((part, inner, outer))
            tied |= {id(c) for c in outer.find_all(exp.Column)}
    return pairs if all(id(c) in tied for c in outer_columns(query)) else []


def _conjuncts(query: exp.Select) -> Iterator[exp.Expr]:
    where = query.args.get("where")
    if where is not None:
        yield from where.this.flatten() if isinstance(where.this, exp.And) else [where.this]


def _join(
    node: exp.Subquery,
    outer: exp.Select,
    query: exp.Select,
    pairs: list[tuple[exp.Expr, exp.Expr, exp.Expr]],
    alias: str,
) -> None:
    value, ties = query.expressions[0].unalias(), {id(part) for part, _, _ in pairs}
    grouped = query.copy()
    keys = [exp.alias_(inner.copy(), f"_key_{i}", quoted=True) for i, (_, inner, _) in enumerate(pairs)]
    grouped.set("expressions", [*keys, exp.alias_(value.copy(), "_value", quoted=True)])
    grouped.set("group", exp.Group(expressions=[inner.copy() for _, inner, _ in pairs]))
    local = [part.copy() for part in _conjuncts(query) if id(part) not in ties]
    grouped.set("where", exp.Where(this=exp.and_(*local, copy=False)) if local else None)
    same = [
        exp.EQ(this=exp.column(f"_key_{i}", table=alias, quoted=True), expression=side.copy())
        for i, (_, _, side) in enumerate(pairs)
    ]
    source = exp.Subquery(this=grouped, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    outer.append("joins", exp.Join(this=source, on=exp.and_(*same, copy=False), side="LEFT"))
    found: exp.Expr = exp.column("_value", table=alias, quoted=True)
    if isinstance(value, exp.Count):  # every other aggregate of no rows is NULL, also count_if
        found = exp.Coalesce(this=found, expressions=[exp.Literal.number(0)])
    node.replace(found)
