"""Which columns tell the rows of a query apart: a proof from groups, DISTINCT, keys of what is read, and joins.

A query is resolved (`realtime.transpile.transpile.resolved`) and typed, in DuckDB's dialect. A value is named by its
expression, so that what ORDER BY names and what a key is made of can be compared. What can't be proven has no keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from sqlglot import exp

from realtime.errors import RefusedError
from realtime.planner.ctes import resolve
from realtime.planner.ir import Shape, Step
from realtime.planner.relations import Relations
from realtime.project.binder import Binder
from realtime.transpile.annotate import aggregated
from realtime.transpile.lower import type_of
from realtime.transpile.transpile import typed_view
from realtime.transpile.types import DuckType, Kind

Values = frozenset[str]
"""Values of a row, by `value_of`."""
_JOINS = frozenset(
    (method, kind, side)
    for method, sides in (("", ("", "LEFT", "RIGHT", "FULL")), ("ASOF", ("", "LEFT")))
    for kind in ("", "INNER", "CROSS", "OUTER")
    for side in sides
)
_DISTINCT = (exp.Union, exp.Except, exp.Intersect)


def value_of(node: exp.Expr) -> str:
    """Names the value of an expression: equal names are equal values within one select."""
    node = node.unnest()
    if isinstance(node, exp.Column):
        return f"{node.table}.{node.name.lower()}"
    return node.sql("duckdb", comments=False)


class RowKeys:
    """Keys of the queries over one project; ``steps`` are those of its models by unique id."""

    def __init__(self, binder: Binder, relations: Relations, steps: Mapping[str, Step]) -> None:
        self._binder, self._relations, self._steps = binder, relations, steps

    def of_select(self, select: exp.Select) -> list[Values]:
        """Sets of values of ``select``, each of which no two of its rows have in common; those that are one value for
        all rows are left out."""
        fixed = {value_of(side) for side in _compared(select.args.get("where"))}
        if any(p.find(exp.Unnest, exp.Explode) for p in select.expressions) or select.args.get("laterals"):
            return []
        return [frozenset(key - fixed) for key in self._select(select)]

    def of_query(self, query: exp.Expr) -> list[Values]:
        """Sets of columns of ``query``, by their names in lower case."""
        query = query.unnest()
        if isinstance(query, exp.SetOperation):
            apart = isinstance(query, _DISTINCT) and query.args.get("distinct")
            return [frozenset(n.lower() for n in query.named_selects)] if apart else self._united(query)
        if not isinstance(query, exp.Select):
            return []
        names: dict[str, str] = {}
        for projection in query.expressions:
            names.setdefault(value_of(projection.unalias()), projection.alias_or_name.lower())
        keys = [key for key in self.of_select(query) if key <= names.keys()]
        return [frozenset(names[value] for value in key) for key in keys]

    def _united(self, query: exp.SetOperation) -> list[Values]:
        """Keys of a UNION ALL, one of whose columns is another constant in each branch: that, and what tells rows of
        each branch apart."""
        branches = list(_branches(query))
        if not branches or query.args.get("by_name"):
            return []
        names = [n.lower() for n in query.named_selects]
        constants = [[_constant(b.expressions[i]) for b in branches] for i in range(len(names))]
        apart = [n for n, found in zip(names, constants, strict=True) if None not in found and _all_differ(found)]
        whole = {i for i in range(len(names)) if _is_kept([type_of(b.expressions[i].unalias()) for b in branches])}
        keys = [[frozenset(names[i] for i in key) for key in self._places(b) if key <= whole] for b in branches]
        return [
            frozenset([name]).union(*each) for name in apart for each in itertools.islice(itertools.product(*keys), 8)
        ]

    def _places(self, select: exp.Select) -> list[frozenset[int]]:
        """Keys of ``select`` as places in its list."""
        at = {value_of(p.unalias()): i for i, p in enumerate(select.expressions)}
        return [frozenset(at[value] for value in key) for key in self.of_select(select) if key <= at.keys()]

    def _select(self, select: exp.Select) -> Iterator[Values]:
        yield from _numbered(select)
        group = select.args.get("group")
        if select.args.get("distinct") is not None:
            if select.args["distinct"].args.get("on") is None:
                yield frozenset(value_of(p.unalias()) for p in select.expressions)
        elif group is not None:
            if not any(v for k, v in group.args.items() if k != "expressions") and not group.find(
                exp.Cube, exp.Rollup, exp.GroupingSets
            ):
                yield frozenset(value_of(e) for e in group.expressions)
        elif any(aggregated(p) for p in select.expressions) or select.args.get("having") is not None:
            yield frozenset()
        else:
            yield from _first_of(select.args.get("qualify"))
            yield from self._joined(select)

    def _joined(self, select: exp.Select) -> list[Values]:
        """Keys of the rows of FROM that meet WHERE: those of the first relation as long as each other one adds one row
        at most, else with those of the other."""
        origin = select.args.get("from_")
        found = self._relation(origin.this) if origin is not None else []
        seen = {origin.this.alias_or_name} if origin is not None else set()
        for join in select.args.get("joins") or []:
            if (join.method, join.kind, join.side) not in _JOINS:
                return []
            keys, alias = self._relation(join.this), join.this.alias_or_name
            if join.side == "FULL":
                sides = [origin.this, join.this] if origin is not None and len(seen) == 1 else [join.this]
                found = self._full(join, found, keys, set[str]().union(*map(self._never_null, sides)))
            elif join.side == "RIGHT":
                found = keys if _has(found, _matched(join.args.get("on"), seen, {alias})) else _both(found, keys)
            elif join.method != "ASOF":
                on = _matched(join.args.get("on"), {alias}, seen)
                where = _matched(select.args.get("where"), {alias}, seen)
                found = found if _has(keys, [*on, *where]) else _both(found, keys)
            seen.add(alias)
        return found

    def _full(self, join: exp.Join, left: list[Values], right: list[Values], never: set[str]) -> list[Values]:
        """Keys of a FULL JOIN: of two rows that each lack a side, only what is ``never`` NULL tells which."""
        found = [key for key in _both(left, right) if key & never]
        pairs = list(_equated(join))
        mine, other = (frozenset(value_of(pair[i]) for pair in pairs) for i in (0, 1))
        # Rows that have no match differ from those that have one, where ON asks for nothing else.
        conditions = list(_all_of(join.args.get("on")))
        alone = bool(pairs) and len(pairs) == len(conditions) and all(type_of(a) == type_of(b) for a, b in pairs)
        if alone and mine in left and other in right and all({value_of(a), value_of(b)} & never for a, b in pairs):
            for first, then in ((0, 1), (1, 0)):
                each = (exp.Coalesce(this=p[first].copy(), expressions=[p[then].copy()]) for p in pairs)
                found.append(frozenset(map(value_of, each)))
        return found

    def _never_null(self, source: exp.Expr) -> set[str]:
        """Values of ``source``, a table or query in FROM, that are never NULL."""
        query, names = _query_of(source), set[str]()
        if isinstance(query, exp.Select) and _keeps_nulls_out(query):
            origin = query.args.get("from_")
            below = self._never_null(origin.this) if origin is not None else set()
            names = {p.alias_or_name.lower() for p in query.expressions if value_of(p.unalias()) in below}
        elif isinstance(source, exp.Table) and source.db:
            table, model = self._relations.source(source), self._relations.model(source)
            names |= {*table.not_null, *table.key} if table is not None else set()
            names |= (
                set[str]().union(*self._relations.identities.get(model.unique_id, ())) if model is not None else set()
            )
            view = self._typed(source) if model is not None else None
            if view is not None:
                of = self._never_null(exp.Subquery(this=view, alias=exp.TableAlias(this=exp.to_identifier("v"))))
                names |= {value.removeprefix("v.") for value in of}
        return {f"{source.alias_or_name}.{name.lower()}" for name in names}

    def _relation(self, source: exp.Expr) -> list[Values]:
        if source.args.get("alias") is not None and source.args["alias"].args.get("columns"):
            return []
        keys: Iterable[Values] = ()
        if isinstance(source, exp.Subquery):
            keys = self.of_query(source.this)
        elif isinstance(source, exp.Table):
            keys = self._table(source)
        return [frozenset(f"{source.alias_or_name}.{name}" for name in key) for key in keys]

    def _table(self, table: exp.Table) -> Iterator[Values]:
        if not table.db:
            cte = resolve(table)
            plain = cte is not None and not cte.args["alias"].args.get("columns")
            if cte is not None and plain and not (cte.parent is not None and cte.parent.args.get("recursive")):
                yield from self.of_query(cte.this)
            return
        source, model = self._relations.source(table), self._relations.model(table)
        if source is not None and source.mode == "upsert":
            yield _lower(source.key)
        found = source or model
        yield from map(_lower, self._relations.identities.get(found.unique_id, ()) if found is not None else ())
        step = self._steps.get(model.unique_id) if model is not None else None
        if step is not None and step.shape in (Shape.AGGREGATE, Shape.LATEST) and step.keys:
            yield _lower(step.keys)
        else:
            yield from self._view(table)

    def _view(self, table: exp.Table) -> list[Values]:
        found = self._typed(table)
        return self.of_query(found) if found is not None else []

    def _typed(self, table: exp.Table) -> exp.Query | None:
        """The query of the view ``table``; None where it is none, or of SQL that only batch understands."""
        try:
            return typed_view(table, self._binder)
        except RefusedError:
            return None


def _lower(names: Iterable[str]) -> Values:
    return frozenset(name.lower() for name in names)


def _all_of(clause: exp.Expr | None) -> Iterator[exp.Expr]:
    """The conditions of a WHERE, QUALIFY or ON that are joined by AND."""
    if clause is None:
        return
    condition = clause.this.unnest() if isinstance(clause, (exp.Where, exp.Qualify)) else clause.unnest()
    if isinstance(condition, exp.And):
        yield from _all_of(condition.left)
        yield from _all_of(condition.right)
    else:
        yield condition


def _compared(where: exp.Expr | None) -> Iterator[exp.Expr]:
    """What a condition of WHERE says is equal to one value for all rows."""
    for condition in _all_of(where):
        if isinstance(condition, exp.EQ):
            for side, other in ((condition.left, condition.right), (condition.right, condition.left)):
                if isinstance(side.unnest(), exp.Column) and _is_bound(other) and _is_one(side, other):
                    yield side


def _is_bound(node: exp.Expr) -> bool:
    """Whether it is a literal or a parameter, or a cast of one."""
    node = node.unnest()
    while isinstance(node, exp.Cast):
        node = node.this.unnest()
    return isinstance(node, (exp.Literal, exp.Boolean, exp.Placeholder, exp.Parameter))


def _is_one(side: exp.Expr, other: exp.Expr) -> bool:
    """Whether one value of ``side`` at most equals one of ``other``: as a DOUBLE many a number is the same."""
    return type_of(other).kind is not Kind.FLOAT or type_of(side).kind is Kind.FLOAT


def _matched(clause: exp.Expr | None, own: Set[str], others: Set[str]) -> Iterator[str]:
    """Values of the relations ``own`` that WHERE or ON equates with what is made of ``others`` alone."""
    for condition in _all_of(clause):
        if isinstance(condition, exp.EQ):
            for side, other in ((condition.left, condition.right), (condition.right, condition.left)):
                mine = side.unnest()
                own_value = isinstance(mine, exp.Column) and mine.table in own
                if own_value and _tables(other) <= others and _is_one(side, other):
                    yield value_of(side)


def _equated(join: exp.Join) -> Iterator[tuple[exp.Column, exp.Column]]:
    """Columns from before ``join`` and its own that ON equates."""
    for condition in _all_of(join.args.get("on")):
        if isinstance(condition, exp.EQ):
            left, right = condition.left.unnest(), condition.right.unnest()
            if isinstance(left, exp.Column) and isinstance(right, exp.Column) and left.table != right.table:
                yield (right, left) if left.table == join.this.alias_or_name else (left, right)


def _tables(node: exp.Expr) -> set[str]:
    return {column.table for column in node.find_all(exp.Column)}


def _has(keys: Iterable[Values], matched: Iterable[str]) -> bool:
    known = set(matched)
    return any(key <= known for key in keys)


def _both(left: Iterable[Values], right: Sequence[Values]) -> list[Values]:
    return [one | other for one in left for other in right]


def _query_of(source: exp.Expr) -> exp.Expr | None:
    """The query in FROM that ``source`` is, or the CTE that it names."""
    cte = resolve(source) if isinstance(source, exp.Table) and not source.db else None
    if any(e.args["alias"].args.get("columns") for e in (cte, source) if e is not None and e.args.get("alias")):
        return None
    query: exp.Expr | None = cte.this if cte is not None else source.this if isinstance(source, exp.Subquery) else None
    return query.unnest() if query is not None else None


def _keeps_nulls_out(select: exp.Select) -> bool:
    """Whether a column of ``select`` is NULL only where it is in what is read."""
    group = select.args.get("group")
    totals = group is not None and any(v for k, v in group.args.items() if k != "expressions")
    joins = select.args.get("joins") or []
    return not totals and not select.find(exp.Cube, exp.Rollup, exp.GroupingSets) and not any(j.side for j in joins)


def _branches(query: exp.Expr) -> Iterator[exp.Select]:
    """The selects that UNION ALL joins; none where it is more than that."""
    query = query.unnest()
    if isinstance(query, exp.Union) and not query.args.get("distinct"):
        sides = [list(_branches(side)) for side in (query.this, query.expression)]
        yield from (b for side in sides for b in side) if all(sides) else ()
    elif isinstance(query, exp.Select):
        yield query


def _constant(projection: exp.Expr) -> str | None:
    """What a projection is in every row, where it is written as a text or a whole number."""
    value = projection.unalias()
    if isinstance(value, exp.Literal) and value.is_string:
        return f"'{value.name}'"
    return str(int(value.name)) if isinstance(value, exp.Literal) and value.is_int else None


def _all_differ(constants: Sequence[str | None]) -> bool:
    texts = {found is not None and found.startswith("'") for found in constants}
    return len(texts) == 1 and len(set(constants)) == len(constants)


def _is_kept(types: Sequence[DuckType]) -> bool:
    """Whether values that differ still do in a column of all these types."""
    known = {found for found in types if found.kind is not Kind.NULL}
    return len(known) <= 1 or {found.kind for found in known} == {Kind.INTEGER}


def _numbered(select: exp.Select) -> Iterator[Values]:
    """``row_number() OVER (PARTITION BY k …)`` as a column tells rows apart together with ``k``."""
    for projection in select.expressions:
        window = projection.unalias().unnest()
        if isinstance(window, exp.Window) and isinstance(window.this, exp.RowNumber) and not window.args.get("alias"):
            yield frozenset(value_of(e) for e in [window, *(window.args.get("partition_by") or [])])


def _first_of(qualify: exp.Expr | None) -> Iterator[Values]:
    """``row_number() OVER (PARTITION BY k …) = 1`` leaves one row per ``k``."""
    for condition in _all_of(qualify):
        if isinstance(condition, exp.EQ) and isinstance(condition.left.unnest(), exp.Window):
            window = condition.left.unnest()
            numbered = isinstance(window.this, exp.RowNumber) and not window.args.get("alias")
            if numbered and isinstance(condition.right, exp.Literal) and condition.right.name == "1":
                yield frozenset(value_of(e) for e in window.args.get("partition_by") or [])
