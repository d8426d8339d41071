"""A lambda's query for many keys at once, where one of its parameters is only compared with a column for equality.

The server answers concurrent calls that differ in this parameter by one query: ``k = {k}`` becomes ``k IN {k}``, every
row carries its key, and groups, windows, limits and joins are per key. What can't be proven so has no such form.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from sqlglot import exp

from realtime.errors import DuetError
from realtime.planner.ir import Column, Missing, Param
from realtime.transpile.annotate import aggregated
from realtime.transpile.rules.order import row_count
from realtime.transpile.transpile import Compiled
from realtime.transpile.types import Kind, duck_type

KEY = "__duet_key"
_KINDS = (Kind.INTEGER, Kind.TEXT, Kind.UUID, Kind.DATE)
"""Equal values of these are equal bytes in JSON."""
_CLAUSES = frozenset(
    {"with_", "expressions", "distinct", "from_", "joins", "where", "group", "having", "qualify", "order"}
)


class NotKeyedError(DuetError):
    """Why a query has no form for many keys."""


@dataclasses.dataclass(frozen=True)
class KeyedQuery:
    """``tree`` still compares the parameter with ``=``; its last column is `KEY`. ``limit`` and ``offset`` are per key
    and not in the tree."""

    param: Param
    tree: exp.Query
    missing: Missing
    limit: exp.Expr | None = None
    offset: exp.Expr | None = None


def keyed_query(tree: exp.Query, params: Sequence[Param]) -> KeyedQuery:
    """The form of ``tree`` (in DuckDB's dialect) for many values of one of ``params``.

    NotKeyedError with the reason why the last candidate does not do.
    """
    reason = NotKeyedError("no parameter is required and a whole number, a text, a UUID or a date")
    for param in params:
        if not param.required or duck_type(param.type).kind not in _KINDS:
            continue
        try:
            return _of(tree.copy(), param)
        except NotKeyedError as error:
            reason = error
    raise reason


def for_many(query: KeyedQuery, compiled: Compiled, columns: tuple[Column, ...]) -> exp.Query:
    """``compiled``, which is `KeyedQuery.tree` in ClickHouse's dialect, for an array of keys, in place.

    ``columns`` are those of the query for one key. NotKeyedError where the comparison did not stay a plain ``=``.
    """
    tree, param = compiled.tree, query.param
    if compiled.columns[:-1] != columns or compiled.columns[-1].type != param.type:
        raise NotKeyedError(f"{param.name} is compared with a column of another type")
    keys = exp.DataType.build(f"Array({duck_type(param.type).base})", dialect="clickhouse")
    for used in [p for p in tree.find_all(exp.Placeholder) if p.name == param.name]:
        equal = used.parent
        if not isinstance(equal, exp.EQ):
            raise NotKeyedError(f"{param.name} is not compared by a plain =")
        column = equal.expression if equal.this is used else equal.this
        equal.replace(exp.In(this=column, field=exp.Placeholder(this=param.name, kind=keys)))
    if query.limit is not None or query.offset is not None:
        _limit_each(tree, query)
    return tree


def _limit_each(tree: exp.Query, query: KeyedQuery) -> None:
    if not isinstance(tree, exp.Select) or query.limit is None:
        raise NotKeyedError("OFFSET without LIMIT")
    key = [exp.column(KEY, quoted=True)]
    tree.set("limit", exp.Limit(expression=row_count(query.limit.expression)))
    if query.offset is not None:
        tree.set("offset", exp.Offset(expression=row_count(query.offset.expression), expressions=key))
    else:
        tree.args["limit"].set("expressions", key)


def _of(tree: exp.Query, param: Param) -> KeyedQuery:
    limits = [clause for part in ("limit", "offset") if (clause := tree.args.get(part)) is not None]
    for clause in limits:
        clause.pop()
    if any(_uses(c, param.name) or isinstance(c, exp.Fetch) or c.args.get("limit_options") for c in limits):
        raise NotKeyedError(f"{param.name}, FETCH or a percentage limits the rows")
    limit, offset = (next((c for c in limits if isinstance(c, k)), None) for k in (exp.Limit, exp.Offset))
    missing = _Carry(param.name, {}).query(tree)
    return KeyedQuery(param, tree, missing, limit, offset)


@dataclasses.dataclass(frozen=True)
class _Input:
    """A relation of FROM that has `KEY`: at ``index`` of FROM and its joins."""

    index: int
    alias: str
    missing: Missing


class _Carry:
    """Gives queries `KEY` as their last column, in place; ``ctes`` are those in sight that have it."""

    def __init__(self, param: str, ctes: dict[str, Missing]) -> None:
        self._param = param
        self._ctes = ctes

    def query(self, query: exp.Query) -> Missing:
        if isinstance(query, exp.Subquery) and not query.args.get("order"):
            return self.query(query.this)
        ctes = query.args.get("with_")
        if ctes is not None:
            for cte in ctes.expressions:
                self._cte(cte, recursive=bool(ctes.args.get("recursive")))
        if isinstance(query, exp.Select):
            return self._select(query)
        if not isinstance(query, exp.SetOperation) or query.args.get("limit"):
            raise NotKeyedError(f"a {query.key} keeps no key")
        if {self.query(query.this), self.query(query.expression)} != {Missing.EMPTY}:
            raise NotKeyedError(f"a side of {query.key} may lack its one row")
        return Missing.EMPTY

    def _cte(self, cte: exp.CTE, *, recursive: bool) -> None:
        self._ctes.pop(cte.alias.lower(), None)
        if not self._depends(cte.this):
            return
        if recursive or cte.args["alias"].args.get("columns"):
            raise NotKeyedError(f"CTE {cte.alias} is recursive or names its columns")
        self._ctes[cte.alias.lower()] = self.query(cte.this)

    def _depends(self, query: exp.Expr) -> bool:
        return _uses(query, self._param) or any(_cte_name(t) in self._ctes for t in query.find_all(exp.Table))

    def _select(self, select: exp.Select) -> Missing:
        unknown = {k for k, v in select.args.items() if v not in (None, False, [])} - _CLAUSES
        if unknown:
            raise NotKeyedError(f"{', '.join(sorted(unknown))} in a query of {self._param}")
        inputs = [*self._inputs(select), *self._scalars(select)]
        compared = self._compared(select)
        self._check_nothing_else(select, compared)
        if inputs:
            key = exp.column(KEY, inputs[0].alias, quoted=True)
            self._join(select, inputs, key)
            if compared is not None:
                compared.set("expression", key.copy())
        elif compared is not None:
            key = compared.this.copy()
        else:
            raise NotKeyedError(f"a query without {self._param} beside one with it")
        return _per_key(select, key, inputs)

    def _inputs(self, select: exp.Select) -> Iterator[_Input]:
        """Those in FROM and joins; their queries get their keys."""
        for index, relation in enumerate(_relations(select)):
            if isinstance(relation, exp.Table) and _cte_name(relation) in self._ctes:
                yield _Input(index, relation.alias_or_name, self._ctes[_cte_name(relation)])
            elif isinstance(relation, exp.Subquery) and self._depends(relation):
                if not relation.alias or relation.args["alias"].args.get("columns"):
                    raise NotKeyedError("a query in FROM has no name, or names its columns")
                yield _Input(index, relation.alias, self._nested(relation))

    def _nested(self, relation: exp.Subquery) -> Missing:
        return _Carry(self._param, dict(self._ctes)).query(relation.this)

    def _scalars(self, select: exp.Select) -> Iterator[_Input]:
        """Aggregates in the select list, each of which has one row, are moved to FROM."""
        found = [q for p in select.expressions for q in p.find_all(exp.Subquery) if self._depends(q)]
        if found and (select.args.get("group") or any(aggregated(p) for p in select.expressions)):
            raise NotKeyedError("a scalar subquery in an aggregation")
        for number, scalar in enumerate(found):
            inner = scalar.this
            if (
                not isinstance(inner, exp.Select)
                or not _has_one_row(inner)
                or scalar.find_ancestor(exp.Query) is not select
            ):
                raise NotKeyedError("a scalar subquery that may have no row, or several")
            alias, value = f"__duet_scalar_{number}", "__duet_value"
            if scalar.parent is select:
                raise NotKeyedError("a scalar subquery without a name")
            scalar.replace(exp.column(value, alias, quoted=True))
            inner.set("expressions", [exp.alias_(inner.expressions[0].unalias(), value, quoted=True)])
            missing = _Carry(self._param, dict(self._ctes)).query(inner)
            moved = exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
            index = _append(select, moved)
            yield _Input(index, alias, missing)

    def _compared(self, select: exp.Select) -> exp.EQ | None:
        """The one condition of WHERE that compares the parameter, its column first."""
        where = select.args.get("where")
        if where is None:
            return None
        for condition in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
            equal = condition.unnest()
            if not isinstance(equal, exp.EQ):
                continue
            column, value = equal.this, equal.expression
            if self._is_param(column):
                column, value = value, column
            if isinstance(column, exp.Column) and self._is_param(value):
                equal.set("this", column)
                equal.set("expression", value)
                return equal
        return None

    def _is_param(self, node: exp.Expr) -> bool:
        return isinstance(node, exp.Cast) and _is_use(node.this, self._param)

    def _check_nothing_else(self, select: exp.Select, compared: exp.EQ | None) -> None:
        """Raises where the parameter, or a query that depends on it, is anywhere but in FROM and ``compared``."""
        allowed = compared.expression.this if compared is not None else None
        for node in _outside_from(select):
            if _is_use(node, self._param) and node is not allowed:
                raise NotKeyedError(f"{self._param} is used otherwise than in one `column = {self._param}` of WHERE")
            if isinstance(node, exp.Query) and node is not select and self._depends(node):
                raise NotKeyedError(f"a subquery of {self._param} outside of FROM")

    def _join(self, select: exp.Select, inputs: list[_Input], key: exp.Column) -> None:
        joins = select.args.get("joins") or []
        if any(j.side in ("RIGHT", "FULL") or j.method or j.args.get("using") for j in joins):
            raise NotKeyedError("a RIGHT, FULL, NATURAL, ASOF or USING join of what has the key")
        if inputs[0].index and joins[inputs[0].index - 1].side:
            raise NotKeyedError("the first query with the key is LEFT joined")
        for found in inputs[1:]:
            join = joins[found.index - 1]
            equal = exp.EQ(this=exp.column(KEY, found.alias, quoted=True), expression=key.copy())
            if join.side == "LEFT" and found.missing is not Missing.EMPTY:
                raise NotKeyedError(f"{found.alias} is LEFT joined and may lack its one row")
            if join.kind not in ("", "INNER", "CROSS") or join.side not in ("", "LEFT"):
                raise NotKeyedError(f"a {join.side} {join.kind} join")
            join.set("kind", None if join.side else "INNER")
            join.set("on", exp.and_(join.args["on"], equal, copy=False) if join.args.get("on") else equal)


def _per_key(select: exp.Select, key: exp.Expr, inputs: list[_Input]) -> Missing:
    """Groups, windows and distinct rows of ``select`` per key, and `KEY` as its last column."""
    group, having = select.args.get("group"), select.args.get("having")
    if group is not None and (group.args.get("totals") or group.find(exp.Rollup, exp.Cube, exp.GroupingSets)):
        raise NotKeyedError("ROLLUP, CUBE or grouping sets")
    alone = group is None and any(aggregated(e) for e in (*select.expressions, *([having] if having else [])))
    for window in list(select.find_all(exp.Window)):
        if window.find_ancestor(exp.Query) is select:
            if window.args.get("alias"):
                raise NotKeyedError("a named window")
            window.append("partition_by", key.copy())
    if alone:
        select.set("group", exp.Group(expressions=[key.copy()]))
    elif group is not None and not group.args.get("all"):
        group.append("expressions", key.copy())
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on") is not None:
        distinct.args["on"].append("expressions", key.copy())
    _without_keys(select, {i.alias for i in inputs})
    select.append("expressions", exp.alias_(key.copy(), KEY, quoted=True))
    return _missing(select, inputs, alone=alone)


def _missing(select: exp.Select, inputs: list[_Input], *, alone: bool) -> Missing:
    whole = all(i.missing is Missing.EMPTY for i in inputs)
    narrowed = any(select.args.get(part) for part in ("where", "having", "qualify", "joins", "group", "distinct"))
    if alone:
        return Missing.SAME if whole and not select.args.get("having") else Missing.ASK
    if whole:
        return Missing.EMPTY
    return inputs[0].missing if len(inputs) == 1 and not narrowed else Missing.ASK


def _without_keys(select: exp.Select, aliases: set[str]) -> None:
    """Leaves `KEY` out of the stars of ``select``."""
    for projection in select.expressions:
        star = projection if isinstance(projection, exp.Star) else projection.this
        if projection.find(exp.Columns):
            raise NotKeyedError("COLUMNS(…)")
        owner = projection.args.get("table")
        named = isinstance(projection, exp.Column) and owner is not None and owner.name in aliases
        if isinstance(star, exp.Star) and aliases and (named or star is projection):
            star.append("except_", exp.column(KEY, quoted=True))


def _relations(select: exp.Select) -> list[exp.Expr]:
    origin = select.args.get("from_")
    joins: list[exp.Join] = select.args.get("joins") or []
    return [*([origin.this] if origin is not None else []), *(j.this for j in joins)]


def _append(select: exp.Select, relation: exp.Subquery) -> int:
    """Cross joins ``relation``; its index among the relations."""
    if select.args.get("from_") is None:
        select.set("from_", exp.From(this=relation))
    else:
        select.append("joins", exp.Join(this=relation, kind="CROSS"))
    return len(_relations(select)) - 1


def _has_one_row(select: exp.Select) -> bool:
    """Whether it is one aggregate of all rows."""
    clauses = ("group", "having", "qualify", "distinct", "limit", "offset", "with_")
    return (
        len(select.expressions) == 1
        and aggregated(select.expressions[0])
        and not any(select.args.get(part) for part in clauses)
    )


def _outside_from(select: exp.Select) -> Iterator[exp.Expr]:
    """Every node of ``select`` but CTEs and the relations of FROM."""
    inside = {id(r) for r in _relations(select) if isinstance(r, exp.Subquery)}
    for node in select.walk(prune=lambda n: id(n) in inside or isinstance(n, exp.With)):
        if id(node) not in inside:
            yield node


def _cte_name(table: exp.Table) -> str:
    return "" if table.db else table.name.lower()


def _is_use(node: exp.Expr, param: str) -> bool:
    return isinstance(node, (exp.Parameter, exp.Placeholder)) and node.name == param


def _uses(tree: exp.Expr, param: str) -> bool:
    return any(_is_use(node, param) for node in tree.walk())
