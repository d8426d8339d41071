"""Correlated subqueries and LATERAL joins to joins of what they compute per key.

ClickHouse has no LATERAL, and aggregates a correlated subquery over its join with the outer rows: an outer row that
occurs twice counts each inner row twice (26.7, where one side is Nullable or the condition is no equality).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sqlglot import exp

from realtime.transpile.annotate import aggregated, is_aggregate
from realtime.transpile.correlated import Detached, aggregates, detach, is_one_row, is_strict, outer_columns
from realtime.transpile.lower import refused
from realtime.transpile.passes.unique_aliases import unique_aliases


def join_correlated(tree: exp.Query) -> exp.Query:
    """Rewrites in place the correlated subqueries and LATERAL joins of ``tree``, which is qualified and whose aliases
    are unique, the outer ones first; others are left, and refused later."""
    for lateral in list(tree.find_all(exp.Lateral)):
        if isinstance(lateral.this, exp.Subquery):
            lateral.replace(exp.Subquery(this=lateral.this.this.copy(), alias=lateral.args["alias"].copy()))
    numbers = itertools.count(1)
    seen: dict[int, exp.Expr] = {}
    while (node := next((n for n in _candidates(tree) if id(n) not in seen), None)) is not None:
        seen[id(node)] = node
        outer = node.find_ancestor(exp.Select)
        assert outer is not None
        if isinstance(node.parent, exp.Join):
            _join_lateral(node.parent, node.this, outer, f"_outer_{next(numbers)}")
        elif isinstance(node, exp.Exists):
            _join_exists(node, outer, next(numbers))
        else:
            _join_value(node, outer, next(numbers))
        unique_aliases(tree)
    return tree


def _candidates(tree: exp.Query) -> Iterator[exp.Expr]:
    """Correlated queries in an order in which outer ones come first."""
    for node in tree.find_all(exp.Subquery, exp.Exists, bfs=True):
        query = node.this.unnest() if isinstance(node.this, exp.Subquery) else node.this
        if not isinstance(query, exp.Select) or node.find_ancestor(exp.Select) is None:
            continue
        lateral = isinstance(node.parent, exp.Join)
        if isinstance(node.parent, (exp.From, exp.In, exp.Exists, exp.SetOperation, exp.CTE)):
            continue
        if (lateral or _is_value(node)) and outer_columns(query):
            yield node


def _is_value(node: exp.Expr) -> bool:
    """Whether ``node`` is a value of rows that are not grouped yet."""
    outer = node.find_ancestor(exp.Select)
    assert outer is not None
    clause: exp.Expr = node
    while clause.parent is not None and clause.parent is not outer:
        clause = clause.parent
    if clause.arg_key == "where" or _is_aggregated(node):
        return True
    grouped = outer.args.get("group") is not None or any(aggregated(p) for p in outer.expressions)
    return not grouped and clause.arg_key in ("expressions", "qualify", "order")


def _is_aggregated(node: exp.Expr) -> bool:
    """Whether ``node`` is in the argument or the FILTER of an aggregate, and so a value of each row that it takes."""
    at = node.parent
    while at is not None and not isinstance(at, exp.Query):
        if isinstance(at, exp.Filter) or is_aggregate(at):
            return not isinstance(at.parent, exp.Window)
        at = at.parent
    return False


def _join_value(node: exp.Expr, outer: exp.Select, number: int) -> None:
    query = node.this
    values = _one_row_values(query, f"_correlated_{number}")
    if len(query.expressions) != 1 or (values is None and not _is_first(query)):
        return
    detached = detach(_with_values(query, values), outer, len(outer.args.get("joins") or []), f"_outer_{number}")
    if detached is None:
        return
    alias = f"_correlated_{number}"
    outer.append("joins", _joined(detached, alias, "LEFT"))
    found = values.popitem()[1] if values else exp.column(query.expressions[0].alias_or_name, table=alias, quoted=True)
    node.replace(found)


def _is_first(query: exp.Select) -> bool:
    limit = query.args.get("limit")
    return isinstance(limit, exp.Limit) and limit.expression.name == "1"


def _joined(detached: Detached, alias: str, side: str, condition: exp.Expr | None = None) -> exp.Join:
    source = exp.Subquery(this=detached.query, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    on = detached.on(alias)
    if condition is not None:
        on = exp.and_(on, condition.copy(), copy=False)
    return exp.Join(this=source, on=on, side=side or None)


Values = dict[str, exp.Expr]


def _one_row_values(query: exp.Select, alias: str) -> Values | None:
    """What the columns of a query that aggregates everything are, made of its aggregates as ``alias`` has them: a count
    of no rows is 0 and nearly everything else NULL. None for other queries."""
    if not is_one_row(query) or query.args.get("having") is not None:
        return None
    calls = _calls(query)
    values = {}
    for projection in query.expressions:
        holder = exp.Paren(this=projection.unalias().copy())
        for call in aggregates(holder):
            value: exp.Expr = exp.column(_value_name(calls.index(call), len(calls)), table=alias, quoted=True)
            zero = _of_no_rows(_function(call))
            if zero is not None:
                value = exp.Coalesce(this=value, expressions=[zero])
            call.replace(value)
        values[projection.alias_or_name] = holder.this if _is_atom(holder.this) else holder
    return values


def _is_atom(node: exp.Expr) -> bool:
    return isinstance(node, (exp.Column, exp.Func, exp.Paren))


def _function(call: exp.Expr) -> exp.Expr:
    """The function that ``call`` calls, FILTER and the like aside."""
    while not is_aggregate(call):
        call = call.this
    return call


def _of_no_rows(function: exp.Expr) -> exp.Expr | None:
    """What ``function`` gives of no rows where that is not NULL."""
    zero = exp.Literal.number(0)
    if isinstance(function, exp.Count):
        return zero
    if isinstance(function, exp.RegrCount):
        return exp.cast(zero, "uinteger", dialect="duckdb")
    is_entropy = isinstance(function, exp.Anonymous) and function.name.lower() == "entropy"
    return exp.cast(zero, "double", dialect="duckdb") if is_entropy else None


def _calls(query: exp.Select) -> list[exp.Expr]:
    return list(dict.fromkeys(call for p in query.expressions for call in aggregates(p)))


def _value_name(number: int, of: int) -> str:
    return "_value" if of == 1 else f"_value_{number}"


def _with_values(query: exp.Select, values: Values | None) -> exp.Select:
    """``query`` with its aggregates as columns, for `_one_row_values`; itself where there are none."""
    if values is None:
        return query
    calls, copy = _calls(query), query.copy()
    names = (_value_name(i, len(calls)) for i in range(len(calls)))
    copy.set("expressions", [exp.alias_(c.copy(), n, quoted=True) for c, n in zip(calls, names, strict=True)])
    return copy


def _join_lateral(join: exp.Join, query: exp.Select, outer: exp.Select, distinct: str) -> None:
    joins, alias = outer.args["joins"], join.alias_or_name
    at = next(i for i, each in enumerate(joins) if each is join)
    condition = join.args.get("on")
    if isinstance(condition, exp.Boolean) and condition.this:
        condition = None
    values = _one_row_values(query, alias)
    if join.side not in ("", "LEFT") or join.args.get("method") or (values is not None and condition is not None):
        raise refused(join, "this form of LATERAL", remedy="write LEFT JOIN LATERAL (…) ON true")
    detached = detach(_with_values(query, values), outer, at, distinct)
    if detached is None:
        return
    if values is not None:
        for column in [c for c in outer.find_all(exp.Column) if c.table == alias]:
            column.replace(values[column.name].copy())
    joins[at] = _joined(detached, alias, "LEFT" if values is not None else join.side, condition)
    outer.set("joins", joins)


def _join_exists(node: exp.Exists, outer: exp.Select, number: int) -> None:
    """EXISTS where ClickHouse's own is wrong, or refused beside another."""
    query = node.this.unnest()
    assert isinstance(query, exp.Select)
    if is_one_row(query) or (is_strict(query) and not _is_beside(node, outer) and not _is_aggregated(node)):
        return
    copy = query.copy()
    copy.set("expressions", [exp.alias_(exp.Literal.number(1), "_found", quoted=True)])
    for part in ("limit", "order", "distinct"):
        copy.set(part, None)
    alias = f"_exists_{number}"
    detached = detach(copy, outer, len(outer.args.get("joins") or []), f"_outer_{number}")
    if detached is None:
        return
    detached.query.set("distinct", exp.Distinct())
    outer.append("joins", _joined(detached, alias, "LEFT"))
    found = exp.Is(this=exp.column("_found", table=alias, quoted=True), expression=exp.Null())
    node.replace(exp.paren(exp.Not(this=found)))


def _is_beside(node: exp.Exists, outer: exp.Select) -> bool:
    """Whether ``node`` is a value where the filter has such a query, too: ClickHouse's join of one leaves no column for
    the other (code 48, 26.7)."""
    where = outer.args.get("where")
    others = [e for e in where.find_all(exp.Exists) if outer_columns(e.this)] if where is not None else []
    return bool(others) and not any(e is node for e in others)
