"""A lambda that joins models of one grain on their whole key, as a query over one row that holds what all of them have
of it.

Models that are grouped by the same columns have at most one row each per key, so their full outer join has one row,
and every join of them by that key can be told from it: ``b`` of ``a LEFT JOIN b`` is NULL where the row holds nothing
of ``b``, an INNER JOIN keeps the row where it holds something of both, and aggregates over a model are aggregates over
the rows that hold something of it. The joined row is one key of the state that the models share
(`realtime.planner.colocate`). What can't be proven so is read as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from sqlglot import exp

from realtime.planner.ctes import prune, resolve
from realtime.planner.ir import Member, Shape, Step
from realtime.planner.key_rows import (
    ALIAS,
    ApartError,
    KeyRows,
    Ties,
    column_of,
    fixed_key,
    joined_column,
    key_of,
    owner_of,
    spread,
    there,
    tied_key,
)
from realtime.planner.own_rows import own_rows
from realtime.planner.relations import Relations
from realtime.planner.selects import Scope, conditions_of, moved, query_of, relations_of, wrapped
from realtime.transpile.annotate import aggregated, is_aggregate
from realtime.transpile.types import NESTED, duck_type

HOLDER = "__duet_together"
"""The name that stands for the joined row in a compiled query until its state has one."""
_PLAIN = (
    exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Cast, exp.DataType, exp.Unary, exp.Binary,
    exp.Between, exp.Coalesce, exp.Case, exp.If, exp.Placeholder, exp.Parameter,
)  # fmt: skip
"""What a row of a CTE may be computed by: each gives one value for one row."""
_OF_AGGREGATES = (
    exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.Star, exp.Distinct, exp.Filter, exp.Where,
)  # fmt: skip
"""Kinds that can't be NULL in ClickHouse."""


@dataclasses.dataclass(frozen=True)
class Joined:
    """``tree`` reads one row per key from a relation that has ``columns`` (names and DuckDB types): `key_of` each of
    ``keys``, which are compared with parameters, `column_of` and `there` of each of ``members``."""

    tree: exp.Query
    keys: dict[str, str]
    members: tuple[Member, ...]
    columns: tuple[tuple[str, str], ...]


def read_together(tree: exp.Query, table: exp.Table, relations: Relations, steps: Mapping[str, Step]) -> Joined:
    """``tree``, in DuckDB's dialect with all names resolved, over the joined row ``table``; ``steps`` by unique id.

    ApartError with the reason why there is no such form.
    """
    reasons: list[tuple[int, ApartError]] = []
    for place, original in enumerate(tree.find_all(exp.Select)):
        copy = tree.copy()
        select = list(copy.find_all(exp.Select))[place]
        try:
            reading = _Reading(relations, steps)
            compared = reading.rewrite(select, table)
            return reading.joined(prune(copy), select, compared)
        except ApartError as error:
            reasons.append((len(relations_of(original)), error))
        except KeyError as error:
            reasons.append((len(relations_of(original)), ApartError(f"column {error} is not known")))
    raise max(reasons, key=lambda found: found[0])[1]


class _Reading:
    """One select's way of reading models."""

    def __init__(self, relations: Relations, steps: Mapping[str, Step]) -> None:
        self._relations = relations
        self._steps = steps
        self._members: dict[str, Step] = {}
        self._required: set[int] = set()

    def rewrite(self, select: exp.Select, table: exp.Table) -> dict[str, str]:
        """Makes ``select`` read ``table``, in place; the parameter that each key is compared with."""
        relations = relations_of(select)
        if relations and not all(_is_one(_query(r)) for r in relations):
            fixed = self._join(select)
        else:
            fixed = self._aggregate(select, relations)
        keys = self._keys(fixed)
        conditions = [exp.EQ(this=joined_column(key_of(key)), expression=keys[key].copy()) for key in keys]
        where = select.args.get("where")
        conditions += [where.this] if where is not None else []
        source = table.copy()
        source.set("alias", exp.TableAlias(this=exp.to_identifier(ALIAS, quoted=True)))
        select.set("from_", exp.From(this=source))
        select.set("joins", None)
        select.set("where", exp.Where(this=exp.and_(*conditions)))
        return {key: value.this.name for key, value in keys.items()}

    def joined(self, tree: exp.Query, select: exp.Select, compared: dict[str, str]) -> Joined:
        """What `rewrite` made of ``select`` in ``tree``, keys being ``compared`` with parameters."""
        used = {c.name for c in select.find_all(exp.Column) if c.table == ALIAS}
        steps = list(self._members.values())
        kinds = {c.name: c.type for c in steps[0].columns}
        keys = _key_names(steps[0])
        columns, members = {key_of(key): kinds[shown] for key, shown in keys.items()}, []
        for number, step in enumerate(steps):
            needed = [c for c in step.columns if column_of(number, c.name) in used]
            nested = [c.name for c in needed if duck_type(c.type).kind in NESTED]
            if nested:
                raise ApartError(f"{nested[0]} of {step.model} can't be NULL in ClickHouse")
            columns |= {there(number): "BOOLEAN"} | {column_of(number, c.name): c.type for c in needed}
            shown = tuple(c.name for c in needed)
            members.append(Member(step.model, shown, number in self._required, own_rows(step)))
        return Joined(tree, compared, tuple(members), tuple(columns.items()))

    def _keys(self, found: list[KeyRows]) -> dict[str, exp.Expr]:
        """The parameter of each key, where it is the same for all of ``found``."""
        steps = list(self._members.values())
        if len(steps) < 2:
            raise ApartError("it reads one model by this key")
        keys = sorted(_key_names(steps[0]))
        for step in steps[1:]:
            if sorted(_key_names(step)) != keys:
                raise ApartError(f"{steps[0].model} is grouped by {_listed(steps[0])}, {step.model} by {_listed(step)}")
        values = found[0].fixed
        for rows in found:
            missing = [key for key in keys if key not in rows.fixed]
            if missing:
                model = steps[rows.member].model
                raise ApartError(f"{missing[0]} of {model} is not tied to a parameter by =")
            if any(rows.fixed[key] != values[key] for key in keys):
                raise ApartError(f"{', '.join(keys)} is compared with more than one parameter")
        return {key: values[key] for key in keys}

    def _rows(self, relation: exp.Expr) -> KeyRows:
        """``relation`` as at most one row per key of a model."""
        query = _query(relation)
        if query is None:
            return self._model(relation)
        rows, scope = self._filtered(query, "a query below the join")
        columns = {}
        for projection in query.expressions:
            _check_plain(projection.unalias())
            columns[projection.alias_or_name] = moved(projection.unalias(), scope)
        return dataclasses.replace(rows, columns=columns)

    def _filtered(self, query: exp.Expr, what: str) -> tuple[KeyRows, Scope]:
        """The rows that ``query`` reads and lets through, and its columns."""
        if not isinstance(query, exp.Select) or _clauses(query) - {"expressions", "from_", "where"}:
            raise ApartError(f"{what} is more than columns and conditions of one model")
        (relation,) = relations_of(query) or [exp.Null()]
        rows = self._rows(relation)
        scope = {relation.alias_or_name: rows.columns}
        rows = dataclasses.replace(rows, present=list(rows.present), fixed=dict(rows.fixed))
        for condition in conditions_of(query.args.get("where")):
            fixed = fixed_key(condition, scope)
            if fixed is not None:
                rows.fix(*fixed)
            else:
                _check_plain(condition)
                rows.present.append(moved(condition, scope))
        return rows, scope

    def _model(self, relation: exp.Expr) -> KeyRows:
        found = self._relations.model(relation) if isinstance(relation, exp.Table) else None
        step = self._steps.get(found.unique_id) if found is not None else None
        if step is None:
            raise ApartError(f"it reads {relation.alias_or_name or 'something'}, which is no model")
        if step.shape not in (Shape.AGGREGATE, Shape.LATEST) or not step.keys:
            raise ApartError(f"{step.model} is not kept by keys in one state")
        self._members.setdefault(step.model, step)
        member = list(self._members).index(step.model)
        columns: dict[str, exp.Expr] = {c.name: joined_column(column_of(member, c.name)) for c in step.columns}
        columns |= {shown: joined_column(key_of(key)) for key, shown in _key_names(step).items()}
        return KeyRows(member, columns, [joined_column(there(member))])

    def _join(self, select: exp.Select) -> list[KeyRows]:
        """``select`` from joined rows, in place but for its FROM."""
        if any(isinstance(n, exp.Query) and n is not select for n in _outside(select)):
            raise ApartError("a subquery beside the joins")
        seen: dict[str, KeyRows] = {}
        ties: Ties = []
        for join, relation in zip([None, *(select.args.get("joins") or [])], relations_of(select), strict=True):
            rows = self._rows(relation)
            seen[relation.alias_or_name] = rows
            if join is not None:
                _check_join(join)
                rows.required = not join.side
                self._on(join, relation.alias_or_name, seen, ties)
        present = [p for rows in seen.values() if rows.required for p in rows.present]
        scope = {alias: rows.guarded() for alias, rows in seen.items()}
        outer = {alias: rows.columns for alias, rows in seen.items() if rows.required}
        for condition in conditions_of(select.args.get("where")):
            fixed = fixed_key(condition, outer)
            if fixed is None:
                present.append(moved(condition, scope))
            else:
                seen[owner_of(condition, outer)].fix(*fixed)
        spread(ties)
        self._required |= {rows.member for rows in seen.values() if rows.required}
        for part, given in list(select.args.items()):
            if part not in ("from_", "joins", "where", "with_"):
                select.set(part, _moved_all(given, scope))
        select.set("where", exp.Where(this=exp.and_(*present)))
        return list(seen.values())

    def _on(self, join: exp.Join, alias: str, seen: dict[str, KeyRows], ties: Ties) -> None:
        """Adds what ON asks for to what must hold for the rows called ``alias``."""
        rows = seen[alias]
        scope = {a: r.columns if r is rows else r.guarded() for a, r in seen.items()}
        for condition in conditions_of(join.args.get("on")):
            fixed = fixed_key(condition, {alias: rows.columns})
            tied = tied_key(condition, alias, seen)
            if fixed is not None:
                rows.fix(*fixed)
            elif tied is not None:
                other, key = tied
                ties.append((other, rows, key))
                rows.present += [] if other.required else other.present
            else:
                rows.present.append(moved(condition, scope))

    def _aggregate(self, select: exp.Select, relations: list[exp.Expr]) -> list[KeyRows]:
        """``select`` from relations, or scalar subqueries, of one aggregated row each, in place but for its FROM."""
        if _clauses(select) - {"expressions", "from_", "joins", "with_"}:
            raise ApartError("a query of aggregates has more than a select list")
        if any(j.side or j.method or j.args.get("on") or j.args.get("using") for j in select.args.get("joins") or []):
            raise ApartError("aggregates are joined otherwise than by CROSS JOIN")
        found, scope = [], {}
        for relation in relations:
            rows, columns = self._one(_query(relation))
            found.append(rows)
            scope[relation.alias_or_name] = columns
        for scalar in [] if relations else [s for p in select.expressions for s in _scalars(p)]:
            rows, columns = self._one(_query(scalar))
            found.append(rows)
            (value,) = columns.values()
            scalar.replace(wrapped(value))
        select.set("expressions", _moved_all(select.expressions, scope))
        if not any(aggregated(p) for p in select.expressions):
            raise ApartError("it reads models neither by joins nor by scalar subqueries")
        if any(isinstance(n, exp.Query) for p in select.expressions for n in p.walk()):
            raise ApartError("a subquery in a subquery")
        return found

    def _one(self, query: exp.Expr | None) -> tuple[KeyRows, dict[str, exp.Expr]]:
        """A query that aggregates to one row, as aggregates of the joined row."""
        if not _is_one(query):
            raise ApartError("a subquery that is no aggregate of all its rows")
        assert isinstance(query, exp.Select)
        rows, scope = self._filtered(query, "an aggregate")
        columns = {}
        for projection in query.expressions:
            _check_plain(projection.unalias(), _OF_AGGREGATES)
            columns[projection.alias_or_name] = _filtered_by(moved(projection.unalias(), scope), rows.present)
        return rows, columns


def _filtered_by(value: exp.Expr, present: list[exp.Expr]) -> exp.Expr:
    """``value`` with its aggregates over the joined rows in which ``present`` holds."""
    root = exp.Paren(this=value)
    for found in [n for n in root.walk() if is_aggregate(n)]:
        around = found.parent
        if isinstance(around, exp.Filter):
            around.expression.set("this", exp.and_(*present, around.expression.this))
        else:
            condition = exp.Where(this=exp.and_(*present))
            found.replace(exp.Filter(this=found.copy(), expression=condition))
    return root


def _is_one(query: exp.Expr | None) -> bool:
    """Whether ``query`` aggregates all of its rows to one."""
    return (
        isinstance(query, exp.Select)
        and query.args.get("group") is None
        and bool(query.expressions)
        and all(aggregated(p) for p in query.expressions)
    )


def _query(relation: exp.Expr) -> exp.Expr | None:
    cte = resolve(relation) if isinstance(relation, exp.Table) else None
    named = (cte or relation).args.get("alias")
    if named is not None and named.args.get("columns"):
        raise ApartError(f"{named.name} names its columns")
    more = {name for name, part in relation.args.items() if part} - {"this", "db", "catalog", "alias"}
    if more and isinstance(relation, (exp.Table, exp.Subquery)):
        raise ApartError(f"{relation.alias_or_name or 'a subquery'} has {', '.join(sorted(more))}")
    return query_of(relation)


def _key_names(step: Step) -> dict[str, str]:
    """Keys of the one state of ``step``, each with the column that shows it."""
    return dict(zip(step.states[0].order_by, step.keys, strict=True))


def _listed(step: Step) -> str:
    return ", ".join(step.states[0].order_by)


def _clauses(select: exp.Select) -> set[str]:
    return {name for name, part in select.args.items() if part not in (None, False, [])}


def _outside(select: exp.Select) -> Iterator[exp.Expr]:
    """Every node of ``select`` but CTEs and what FROM reads."""
    inside = {id(r) for r in relations_of(select)}
    for node in select.walk(prune=lambda n: id(n) in inside or isinstance(n, exp.With)):
        if id(node) not in inside and not isinstance(node, exp.With):
            yield node


def _scalars(projection: exp.Expr) -> list[exp.Subquery]:
    return [n for n in projection.walk(prune=lambda n: isinstance(n, exp.Query)) if isinstance(n, exp.Subquery)]


def _check_plain(node: exp.Expr, others: tuple[type[exp.Expr], ...] = ()) -> None:
    """ApartError where ``node`` is more than one value of one row, as far as is known."""
    for inner in node.walk():
        if not isinstance(inner, _PLAIN + others):
            raise ApartError(f"{inner.key} below the join")


def _check_join(join: exp.Join) -> None:
    kind = " ".join(filter(None, (str(join.args.get(p) or "") for p in ("method", "side", "kind"))))
    if kind not in ("", "INNER", "CROSS", "LEFT", "LEFT OUTER") or join.args.get("using"):
        raise ApartError(f"a {kind or 'USING'} JOIN")


def _moved_all(given: object, scope: Scope) -> object:
    if isinstance(given, list):
        return [moved(g, scope) if isinstance(g, exp.Expr) else g for g in given]
    return moved(given, scope) if isinstance(given, exp.Expr) else given
