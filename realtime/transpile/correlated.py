"""Queries that name columns of the rows around them, made independent: their rows carry keys by which to join."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sqlglot import exp

from realtime.transpile.annotate import aggregated, is_aggregate

Tie = tuple[exp.Expr, exp.Expr, exp.Expr]
"""A condition that equates an expression of a query with one of the rows around it: the condition, both sides."""
_WRAPPERS = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)


@dataclasses.dataclass(frozen=True)
class Detached:
    """``query`` has a column ``_key_0`` … for each of ``keys``, which are the same of the rows around; ``exact``: they
    are equal also where both are NULL."""

    query: exp.Select
    keys: tuple[exp.Expr, ...]
    exact: bool

    def on(self, alias: str) -> exp.Expr:
        """The condition on which to join the query as ``alias``."""
        kind = exp.NullSafeEQ if self.exact else exp.EQ
        columns = (exp.column(f"_key_{i}", table=alias, quoted=True) for i in range(len(self.keys)))
        return exp.and_(
            *(kind(this=c, expression=k.copy()) for c, k in zip(columns, self.keys, strict=True)), copy=False
        )


def own_tables(query: exp.Expr) -> set[str]:
    """Names under which ``query`` or what is nested in it reads tables."""
    sources = {s.alias_or_name for s in query.find_all(exp.Table, exp.Subquery, exp.Unnest)}
    return sources | {c.alias for c in query.find_all(exp.CTE)}


def outer_columns(query: exp.Expr) -> list[exp.Column]:
    """Columns in ``query`` of tables that it does not read itself."""
    own = own_tables(query)
    return [c for c in query.find_all(exp.Column) if c.table and c.table not in own]


def is_one_row(query: exp.Select) -> bool:
    """Whether ``query`` gives one row whatever it reads: it aggregates everything."""
    return not query.args.get("group") and any(aggregated(p) for p in query.expressions)


def is_strict(query: exp.Query) -> bool:
    """Whether ``query`` has no row where a column that it names of the rows around it is NULL, and neither counts nor
    nests: ClickHouse's own EXISTS is exact for that. It joins such a query by these columns, and never finds NULL."""
    if not isinstance(query, exp.Select) or is_one_row(query) or any(query.args.get(c) for c in _COUNTING):
        return False
    own, strict = own_tables(query), set()
    for part in _conjuncts(query):
        found = part.unnest()
        if isinstance(found, _COMPARISONS) and all(isinstance(n, (*_STRICT, *_COMPARISONS)) for n in found.walk()):
            strict |= {c for c in found.find_all(exp.Column) if c.table not in own}
    outer = outer_columns(query)
    return all(c in strict and c.find_ancestor(exp.Select) is query for c in outer)


_COUNTING = ("group", "having", "qualify", "limit", "offset", "distinct", "windows")
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_STRICT = (
    *(exp.Column, exp.Identifier, exp.Literal, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Paren, exp.Add, exp.Sub),
    *(exp.Mul, exp.Neg, exp.Interval, exp.Var, exp.Lower, exp.Upper, exp.Trim, exp.TimestampTrunc, exp.DateTrunc),
)


def aggregates(value: exp.Expr) -> list[exp.Expr]:
    """The aggregate calls in ``value``, with their FILTER and the like."""
    found = []
    for call in value.find_all(exp.Func):
        if is_aggregate(call):
            outermost: exp.Expr = call
            while isinstance(outermost.parent, _WRAPPERS):
                outermost = outermost.parent
            found.append(outermost)
    return found


def detach(query: exp.Select, around: exp.Select, joins: int, alias: str) -> Detached | None:
    """``query``, which stands in ``around`` and sees its first ``joins`` joins, made independent of it; None where it
    can't be.

    Where equalities alone tie it, its rows carry its own sides of them; else it is joined to the distinct values that
    ``around`` has of the columns it names, which are called ``alias`` in it.
    """
    if not _is_plain(query):
        return None
    ties = _ties(query)
    if ties:
        copy, keys = query.copy(), [inner.copy() for _, inner, _ in ties]
        tied = {id(part) for part, _, _ in ties}
        local = [part.copy() for part in _conjuncts(query) if id(part) not in tied]
        copy.set("where", exp.Where(this=exp.and_(*local, copy=False)) if local else None)
        return Detached(_keyed(copy, keys), tuple(outer.copy() for _, _, outer in ties), exact=False)
    return _over_distinct(query, around, joins, alias)


def _is_plain(query: exp.Select) -> bool:
    group, order = query.args.get("group"), query.args.get("order")
    if group is not None and any(v for k, v in group.args.items() if k != "expressions"):
        return False
    if query.args.get("windows") or (query.args.get("offset") and not query.args.get("limit")):
        return False
    if query.args.get("limit") is not None:
        limit = query.args["limit"]
        counted = isinstance(limit, exp.Limit) and isinstance(limit.expression, exp.Literal)
        return counted and order is not None and not any(query.args.get(p) for p in ("distinct", "qualify"))
    return not (query.args.get("having") and group is None)


def _ties(query: exp.Select) -> list[Tie]:
    """Conjuncts that tie ``query`` to the rows around it; none where something else does, too."""
    own = own_tables(query)
    ties, tied = [], set()
    for part in _conjuncts(query):
        found = part.unnest()
        if not isinstance(found, exp.EQ) or found.find(exp.Query) is not None:
            continue
        left, right = ({c.table in own for c in side.find_all(exp.Column)} for side in (found.left, found.right))
        if (left, right) in (({True}, {False}), ({False}, {True})):
            inner, outer = (found.left, found.right) if left == {True} else (found.right, found.left)
            ties.append((part, inner, outer))
            tied |= {id(c) for c in outer.find_all(exp.Column)}
    return ties if all(id(c) in tied for c in outer_columns(query)) else []


def _conjuncts(query: exp.Select) -> Iterator[exp.Expr]:
    where = query.args.get("where")
    if where is not None:
        yield from where.this.flatten() if isinstance(where.this, exp.And) else [where.this]


def _over_distinct(query: exp.Select, around: exp.Select, joins: int, alias: str) -> Detached | None:
    named = list(dict.fromkeys(c.copy() for c in outer_columns(query)))
    if any(outer_columns(unnested) for unnested in query.find_all(exp.Explode)):
        return None  # lists are no keys
    seen = _seen(around, joins)
    if any(j.side in ("RIGHT", "FULL") for j in query.args.get("joins") or []) or around.args.get("from_") is None:
        return None
    if any(c.table not in seen for c in named):
        return None  # of a query around ``around``
    keys: list[exp.Expr] = [exp.column(f"_key_{i}", table=alias, quoted=True) for i in range(len(named))]
    copy = query.copy()
    for column in outer_columns(copy):
        column.replace(keys[named.index(column)].copy())
    origin = copy.args.get("from_")
    before = [exp.Join(this=origin.this.copy(), kind="CROSS")] if origin is not None else []
    source = exp.Subquery(this=_distinct(named, around, joins, query), alias=_alias(alias))
    copy.set("from_", exp.From(this=source))
    copy.set("joins", [*before, *(copy.args.get("joins") or [])])
    return Detached(_keyed(copy, keys), tuple(named), exact=True)


def _seen(around: exp.Select, joins: int) -> set[str]:
    origin = around.args.get("from_")
    sources = [origin.this] if origin is not None else []
    return {s.alias_or_name for s in [*sources, *(j.this for j in (around.args.get("joins") or [])[:joins])]}


def _distinct(named: list[exp.Column], around: exp.Select, joins: int, query: exp.Select) -> exp.Select:
    """The values of columns among the rows of ``around``; those that its filter drops anyway are left out."""
    values = [exp.alias_(c.copy(), f"_key_{i}", quoted=True) for i, c in enumerate(named)]
    found = exp.Select(expressions=values, distinct=exp.Distinct())
    found.set("from_", around.args["from_"].copy())
    found.set("joins", [j.copy() for j in (around.args.get("joins") or [])[:joins]])
    if joins == len(around.args.get("joins") or []):
        kept = [p.copy() for p in _conjuncts(around) if p.find(exp.Query) is None]
        found.set("where", exp.Where(this=exp.and_(*kept, copy=False)) if kept else None)
    return found


def _alias(name: str) -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier(name, quoted=True))


def _keyed(query: exp.Select, keys: list[exp.Expr]) -> exp.Select:
    """``query``, which is changed, with ``keys`` as columns; what it did once it does per key."""
    if is_one_row(query) or query.args.get("group") is not None:
        group = query.args.get("group")
        given = group.expressions if group is not None else []
        query.set("group", exp.Group(expressions=[*(k.copy() for k in keys), *given]))
    for window in query.find_all(exp.Window):
        if window.find_ancestor(exp.Select) is query:
            window.set("partition_by", [*(k.copy() for k in keys), *(window.args.get("partition_by") or [])])
    _number(query, keys)
    query.set("expressions", [*_key_columns(keys), *query.expressions])
    return query


def _key_columns(keys: list[exp.Expr]) -> list[exp.Expr]:
    return [exp.alias_(k.copy(), f"_key_{i}", quoted=True) for i, k in enumerate(keys)]


def _number(query: exp.Select, keys: list[exp.Expr]) -> None:
    """LIMIT becomes a number per key; an order of rows that are joined means nothing."""
    limit, offset, order = (query.args.get(part) for part in ("limit", "offset", "order"))
    if limit is not None and order is not None:
        row = exp.Window(
            this=exp.RowNumber(),
            partition_by=[k.copy() for k in keys],
            order=exp.Order(expressions=[_ordered(o, query) for o in order.expressions]),
            over="OVER",
        )
        skipped = int(offset.expression.name) if offset is not None else 0
        last = exp.LTE(this=row, expression=exp.Literal.number(skipped + int(limit.expression.name)))
        first = exp.GT(this=row.copy(), expression=exp.Literal.number(skipped))
        query.set("qualify", exp.Qualify(this=exp.and_(first, last) if skipped else last))
    for part in ("limit", "offset", "order"):
        query.set(part, None)


def _ordered(item: exp.Ordered, query: exp.Select) -> exp.Ordered:
    """``item``, where it is a name of the select list what that shows."""
    copy = item.copy()
    key = item.this
    if isinstance(key, exp.Column) and not key.table:
        shown = next((p.unalias() for p in query.expressions if p.alias_or_name == key.name), key)
        copy.set("this", shown.copy())
    return copy
