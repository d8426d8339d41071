"""Which columns tell the rows of a query apart: a proof from groups, DISTINCT, keys of what is read, and joins.

A query is resolved (`realtime.transpile.transpile.resolved`) and typed, in DuckDB's dialect. A value is named by its
expression, so that what ORDER BY names and what a key is made of can be compared. What can't be proven has no keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sqlglot import exp

from realtime.errors import RefusedError
from realtime.planner.ctes import resolve
from realtime.planner.ir import Shape, Step
from realtime.planner.relations import Relations
from realtime.project.binder import Binder
from realtime.transpile.annotate import aggregated
from realtime.transpile.lower import type_of
from realtime.transpile.transpile import typed_view
from realtime.transpile.types import Kind

Values = frozenset[str]
"""Values of a row, by `value_of`."""
_JOINS = frozenset(
    (method, kind, side) for method in ("", "ASOF") for kind in ("", "INNER", "CROSS", "OUTER") for side in ("", "LEFT")
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
            return [frozenset(n.lower() for n in query.named_selects)] if apart else []
        if not isinstance(query, exp.Select):
            return []
        names: dict[str, str] = {}
        for projection in query.expressions:
            names.setdefault(value_of(projection.unalias()), projection.alias_or_name.lower())
        keys = [key for key in self.of_select(query) if key <= names.keys()]
        return [frozenset(names[value] for value in key) for key in keys]

    def _select(self, select: exp.Select) -> Iterator[Values]:
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
        """Keys of the rows of FROM: those of the first relation as long as each other one adds one row at most, else
        with those of the other."""
        origin = select.args.get("from_")
        found = self._relation(origin.this) if origin is not None else []
        for join in select.args.get("joins") or []:
            if (join.method, join.kind, join.side) not in _JOINS:
                return []
            keys, matched = self._relation(join.this), set(_matched(join))
            if join.method != "ASOF" and not any(key <= matched for key in keys):
                found = [left | right for left in found for right in keys]
        return found

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
        try:
            found = typed_view(table, self._binder)
            return self.of_query(found) if found is not None else []
        except RefusedError:  # of a model that batch computes, in SQL that only it has to understand
            return []


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


def _matched(join: exp.Join) -> Iterator[str]:
    """Values of the joined relation that ON equates with something that is not of it."""
    alias = join.this.alias_or_name
    for condition in _all_of(join.args.get("on")):
        if isinstance(condition, exp.EQ):
            for side, other in ((condition.left, condition.right), (condition.right, condition.left)):
                own = isinstance(side.unnest(), exp.Column) and side.unnest().table == alias  # type: ignore[attr-defined]
                if own and all(c.table != alias for c in other.find_all(exp.Column)) and _is_one(side, other):
                    yield value_of(side)


def _first_of(qualify: exp.Expr | None) -> Iterator[Values]:
    """``row_number() OVER (PARTITION BY k …) = 1`` leaves one row per ``k``."""
    for condition in _all_of(qualify):
        if isinstance(condition, exp.EQ) and isinstance(condition.left.unnest(), exp.Window):
            window = condition.left.unnest()
            numbered = isinstance(window.this, exp.RowNumber) and not window.args.get("alias")
            if numbered and isinstance(condition.right, exp.Literal) and condition.right.name == "1":
                yield frozenset(value_of(e) for e in window.args.get("partition_by") or [])
