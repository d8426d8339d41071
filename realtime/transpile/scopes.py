"""Types that follow without asking: columns have those of what is read, and equal expressions over columns of equal
types have the same one. What is left is asked in one question per select."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlglot import exp

from realtime.errors import RefusedError
from realtime.project.binder import DUCKDB, Binder
from realtime.transpile.types import DuckType, Kind, duck_type

Outputs = tuple[tuple[str, DuckType], ...]
_CONTEXT = "_types"
# Beside a name and an alias, a table has nothing that changes its columns.
_PLAIN_TABLE = frozenset({"this", "db", "catalog", "alias"})
# A struct takes the names of its columns, a lambda the type of its list, a grouping the keys of its select.
_BOUND_TO_PLACE = (exp.Query, exp.Struct, exp.Lambda, exp.Placeholder, exp.Parameter, exp.Grouping, exp.GroupingId)


class Scopes:
    """Columns of the queries of one statement. ``annotate`` types the expressions of a select that was not yet met."""

    def __init__(self, binder: Binder, annotate: Callable[[exp.Select], None]) -> None:
        self._binder, self._annotate = binder, annotate
        self._outputs: dict[int, Outputs | None] = {}
        self._sources: dict[int, dict[str, dict[str, DuckType]]] = {}

    def outputs(self, query: exp.Expr) -> Outputs | None:
        """Names and types of the columns of ``query``; None where they don't follow from what it reads."""
        if id(query) not in self._outputs:
            self._outputs[id(query)] = None  # while it is looked at: a recursive CTE reads itself
            self._outputs[id(query)] = self._found(query)
        return self._outputs[id(query)]

    def column(self, column: exp.Column, select: exp.Select) -> DuckType | None:
        """The type of a qualified column as ``select`` names it; None where it is not known."""
        at: exp.Select | None = select
        while at is not None:
            sources = self._read_by(at)
            if column.table in sources:
                return sources[column.table].get(column.name)
            at = at.find_ancestor(exp.Select)
        return None

    def _found(self, query: exp.Expr) -> Outputs | None:
        if isinstance(query, exp.Subquery):
            return self.outputs(query.this)
        if isinstance(query, exp.SetOperation):
            return self._united(query)
        if not isinstance(query, exp.Select):
            return None
        self._annotate(query)
        return selected(query)

    def _united(self, query: exp.SetOperation) -> Outputs | None:
        """DuckDB's common types of both sides; a column's type is fixed before it is united with another."""
        sides = [self.outputs(side) for side in (query.this, query.expression)]
        if query.args.get("by_name") or any(side is None for side in sides):
            return None
        asked = ("united", *(tuple(t.name for _, t in side or ()) for side in sides))
        if asked not in self._binder.known:
            if any(t.kind is Kind.NULL for side in sides for _, t in side or ()):
                return None
            question = exp.Union(this=_nulls(sides[0] or ()), expression=_nulls(sides[1] or ()), distinct=False)
            self._binder.known[asked] = tuple(t for _, t in self._binder.describe(question.sql(DUCKDB)))
        types = self._binder.known[asked]
        return tuple(zip((n for n, _ in sides[0] or ()), types or (), strict=True))

    def _read_by(self, select: exp.Select) -> dict[str, dict[str, DuckType]]:
        """Columns by the alias of what ``select`` reads, as far as they are known."""
        if id(select) not in self._sources:
            found = self._sources[id(select)] = {}
            origin = select.args.get("from_")
            read = [origin.this] if origin is not None else []
            read += [join.this for join in select.args.get("joins") or []]
            found.update({source.alias_or_name: dict(self._columns_of(source) or ()) for source in read})
        return self._sources[id(select)]

    def _columns_of(self, source: exp.Expr) -> Outputs | None:
        found = None
        if isinstance(source, exp.Subquery):
            found = self.outputs(source)
        elif isinstance(source, exp.Table) and {k for k, v in source.args.items() if v} <= _PLAIN_TABLE:
            found = self._of_table(source)
        return _renamed(found, source.args.get("alias"))

    def _of_table(self, source: exp.Table) -> Outputs | None:
        if source.db:
            key = (source.catalog.lower(), source.db.lower(), source.name.lower())
            known = self._binder.columns.get(key)
            return None if known is None else tuple((n, duck_type(t)) for n, t in known.items())
        for cte in reversed(visible_ctes(source)):
            if cte.alias == source.name:
                recursive = cte.parent is not None and cte.parent.args.get("recursive")
                return None if recursive else _renamed(self.outputs(cte.this), cte.args.get("alias"))
        return None


def outputs(query: exp.Query) -> Outputs | None:
    """Columns of an annotated query; None where one of them has no type."""
    bare = query.unnest()
    found: Outputs | None = selected(bare) if isinstance(bare, exp.Select) else bare.meta_get("outputs")
    return found


def selected(select: exp.Select) -> Outputs | None:
    """Columns of a select whose expressions are typed; None where one of them is not."""
    types = [p.unalias().meta_get("duck") for p in select.expressions]
    if any(t is None for t in types):
        return None
    return tuple(zip((p.alias_or_name for p in select.expressions), types, strict=True))


def ask_once(nodes: Iterable[exp.Expr], grouped: bool, binder: Binder) -> list[exp.Expr]:
    """Types ``nodes``, whose columns are typed, and remembers the answers; returns those to be asked where they stand.

    ``grouped`` says that they hold aggregates.
    """
    left: list[exp.Expr] = []
    asked: dict[int, list[exp.Expr]] = {}
    for node in nodes:
        key = _key(node, binder)
        if key is None:
            left.append(node)
        elif key not in binder.known:
            asked.setdefault(key, []).append(node)
        elif (found := binder.known[key]) is not None:
            node.meta["duck"] = found[0]
    answers = _answers({key: same[0] for key, same in asked.items()}, grouped, binder)
    for key, same in asked.items():
        if key not in answers:
            left += same
            continue
        binder.known[key] = (answers[key],)
        for node in same:
            node.meta["duck"] = answers[key]
    return left


def note_untyped(nodes: Iterable[exp.Expr], binder: Binder) -> None:
    """Remembers those of ``nodes`` that got no type where they stand either, as ``row_number()`` without its window."""
    for node in nodes:
        key = _key(node, binder) if node.meta_get("duck") is None else None
        if key is not None:
            binder.known.setdefault(key, None)


def _key(node: exp.Expr, binder: Binder) -> int | None:
    """A number that equal expressions over columns of equal types share; None where the type depends on more."""
    if isinstance(node, exp.Column):
        found = node.meta_get("duck")
        return None if found is None or found.kind is Kind.NULL else binder.number(("column", found.name))
    if isinstance(node, _BOUND_TO_PLACE) or (isinstance(node, exp.Window) and node.args.get("alias")):
        return None
    parts: list[object] = [type(node)]
    for name, value in node.args.items():
        if value is None or value is False:
            continue
        for item in value if isinstance(value, list) else (value,):
            part = _key(item, binder) if isinstance(item, exp.Expr) else (type(item), item)
            if part is None:
                return None
            parts.append((name, part))
    return binder.number(tuple(parts))


def _answers(asked: dict[int, exp.Expr], grouped: bool, binder: Binder) -> dict[int, DuckType]:
    """DuckDB's types of those that it can bind."""
    if not asked:
        return {}
    try:
        types = [t for _, t in binder.describe(_question(list(asked.values()), grouped).sql(DUCKDB, copy=False))]
        if len(types) == len(asked):  # DuckDB unnests a struct into a column for each field
            return dict(zip(asked, types, strict=True))
    except RefusedError:
        pass
    keys = list(asked)
    if len(keys) == 1:
        return {}
    halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
    return {k: t for half in halves for k, t in _answers({k: asked[k] for k in half}, grouped, binder).items()}


def _question(nodes: list[exp.Expr], grouped: bool) -> exp.Select:
    """``nodes`` over one row that has a column of each type; a grouped question has them all as keys."""
    names: dict[str, str] = {}
    projections = []
    for number, node in enumerate(nodes):
        copy = exp.alias_(node.copy(), f"_{number}", quoted=True, copy=False)
        for column in list(copy.find_all(exp.Column)):
            name = names.setdefault(column.meta["duck"].name, f"_type_{len(names)}")
            column.replace(exp.column(name, quoted=True))
        projections.append(copy)
    question = exp.Select(expressions=projections)
    if names:
        row = exp.Subquery(this=_nulls(tuple((n, duck_type(t)) for t, n in names.items())))
        row.set("alias", exp.TableAlias(this=exp.to_identifier(_CONTEXT)))
        question.set("from_", exp.From(this=row))
    if names and grouped:
        question.set("group", exp.Group(expressions=[exp.column(n, quoted=True) for n in names.values()]))
    return question


def _nulls(columns: Outputs) -> exp.Select:
    nulls = [exp.Cast(this=exp.null(), to=_type(found)) for _, found in columns]
    return exp.Select(
        expressions=[exp.alias_(null, n, quoted=True, copy=False) for null, (n, _) in zip(nulls, columns, strict=True)]
    )


def _type(found: DuckType) -> exp.Var:
    """The type in DuckDB's own words, which sqlglot might spell otherwise."""
    return exp.Var(this=found.name)


def _renamed(found: Outputs | None, alias: exp.Expr | None) -> Outputs | None:
    """``found`` under the column names that ``alias`` gives, if any."""
    names = [c.name for c in (alias.args.get("columns") if alias is not None else None) or []]
    if found is None or not names:
        return found
    renamed = names + [n for n, _ in found[len(names) :]]
    return tuple((name, t) for name, (_, t) in zip(renamed, found, strict=True))


def is_recursive(cte: exp.CTE) -> bool:
    """Whether ``cte`` reads itself."""
    clause = cte.parent
    if clause is None or not clause.args.get("recursive"):
        return False
    return any(t.name.lower() == cte.alias.lower() and not t.db for t in cte.this.find_all(exp.Table))


def visible_ctes(node: exp.Expr) -> list[exp.CTE]:
    """CTEs that ``node`` may name, outermost first."""
    found: list[exp.CTE] = []
    at: exp.Expr | None = node
    inside: exp.CTE | None = None
    while at is not None:
        if isinstance(at, exp.CTE):
            inside = at
        clause = at.args.get("with_") if isinstance(at, exp.Query) else None
        if clause is not None:
            ctes = clause.expressions
            if inside is not None and inside.parent is clause and not clause.args.get("recursive"):
                ctes = ctes[: next(i for i, c in enumerate(ctes) if c is inside)]
            found = [*ctes, *found]
        at = at.parent
    return found
