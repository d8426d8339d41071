"""A select that reads a single other one, written over what that one reads: what ClickHouse takes to plan a query grows
with its levels, and a look-up takes it longer to plan than to run.

Levels become one where each row of the outer select is one of the inner: expressions move down, conditions on keys
alone to WHERE, the others to HAVING. Only what the tables here list moves; the rest stays as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from sqlglot import exp

from realtime.planner.ctes import prune, resolve
from realtime.planner.selects import conditions_of, moved, relations_of
from realtime.planner.throws import HARMLESS, MOVING, OPERATORS, THROWING

_MOST_NODES = 5_000
_SCALAR = (HARMLESS | THROWING.keys() | MOVING.keys() | {"intDiv", "modulo"}) - {"arrayJoin"}
"""Functions that give one value for one row."""
_NODES = (
    *OPERATORS, exp.Mod, exp.Placeholder, exp.Var, exp.Identifier, exp.Alias, exp.Ordered, exp.DataType,
    exp.DataTypeParam,
)  # fmt: skip
_COMPARISONS = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In)
_BELOW = frozenset({"expressions", "from_", "where", "group", "having"})
_ABOVE_GROUPS = frozenset(
    {"expressions", "from_", "where", "order", "limit", "offset", "distinct", "with_", "settings"}
)
_ABOVE_ROWS = _ABOVE_GROUPS | {"group", "having"}


def merge_selects(tree: exp.Query) -> exp.Query:
    """``tree``, in ClickHouse's dialect with columns qualified, with as few levels as it is known how, in place."""
    for select in reversed(list(tree.find_all(exp.Select))):
        while _merge(select, tree):
            pass
    return prune(tree)


@dataclasses.dataclass(frozen=True)
class _Below:
    """The select that is read as ``alias``, its columns, and those by which it is grouped, if it is."""

    select: exp.Select
    alias: str
    columns: Mapping[str, exp.Expr]
    keys: frozenset[exp.Expr]


def _merge(select: exp.Select, tree: exp.Query) -> bool:
    """Takes the level below ``select`` away, in place, where that can be done."""
    below = _below(select, tree)
    if below is None or not _fits(select, below):
        return False
    scope = {below.alias: below.columns}
    parts = {name: part for name, part in select.args.items() if part and name not in ("from_", "with_", "settings")}
    made = {name: _moved(part, scope) for name, part in parts.items()}
    where = made.pop("where", None)
    if sum(1 for part in [*made.values(), where] for each in _listed(part) for _ in each.walk()) > _MOST_NODES:
        return False
    first = list(conditions_of(below.select.args.get("where")))
    then = list(conditions_of(where)) if isinstance(where, exp.Where) else []
    had = list(conditions_of(below.select.args.get("having")))
    if below.keys:
        of_keys = [c for c in then if _of_keys(c, below.keys)]
        having = had + [c for c in then if c not in of_keys]
        made |= {"group": below.select.args["group"], "having": exp.Having(this=exp.and_(*having)) if having else None}
        then = of_keys
    conditions = first + then
    made["where"] = exp.Where(this=exp.and_(*conditions)) if conditions else None
    made["from_"] = below.select.args["from_"]
    for name, part in made.items():
        select.set(name, part)
    return True


def _below(select: exp.Select, tree: exp.Query) -> _Below | None:
    """What ``select`` reads, where that is a single select that can be a part of it."""
    relations = relations_of(select)
    inner = _inner(relations[0], tree) if len(relations) == 1 else None
    if inner is None or _clauses(inner) - _BELOW or len(relations_of(inner)) != 1:
        return None
    named = all(p.alias_or_name for p in inner.expressions) and not inner.is_star
    columns = {p.alias_or_name: p.unalias() for p in inner.expressions}
    group = inner.args.get("group")
    keys = frozenset(group.expressions if group is not None else ())
    if not named or len(columns) != len(inner.expressions) or any(v.find(exp.Query) for v in columns.values()):
        return None
    if group is None:
        rows = not inner.args.get("having") and all(map(is_scalar, columns.values()))
        return _Below(inner, relations[0].alias_or_name, columns, keys) if rows else None
    plain = {name for name, part in group.args.items() if part} == {"expressions"}
    if not plain or not all(isinstance(key, exp.Column) and key.table for key in keys):
        return None
    return _Below(inner, relations[0].alias_or_name, columns, keys)


def _inner(relation: exp.Expr, tree: exp.Query) -> exp.Select | None:
    """The query of a subquery, or of a CTE that is read here alone."""
    found: exp.Expr | None = None
    named = relation
    if isinstance(relation, exp.Subquery) and relation.alias:
        found = relation.this
    elif isinstance(relation, exp.Table) and (cte := resolve(relation)) is not None:
        assert isinstance(cte.parent, exp.With)
        alone = sum(1 for t in tree.find_all(exp.Table) if resolve(t) is cte) == 1
        found, named = (cte.this if alone and not cte.parent.args.get("recursive") else None), cte
    alias = named.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        return None
    if {name for name, part in relation.args.items() if part} - {"this", "alias"}:
        return None
    return found if isinstance(found, exp.Select) else None


def _fits(select: exp.Select, below: _Below) -> bool:
    """Whether ``select`` gives the same over what ``below`` reads."""
    if _clauses(select) - (_ABOVE_GROUPS if below.keys else _ABOVE_ROWS) or select.is_star:
        return False
    aliases = {p.alias for p in select.expressions}
    for part in _parts(select):
        for node in part.walk():
            if isinstance(node, (exp.Query, exp.Window, exp.Star)) or node.name == "arrayJoin":
                return False
            if isinstance(node, exp.Column) and not _known(node, below, aliases):
                return False
    # Over groups an aggregate would be one of aggregates.
    return not below.keys or all(map(is_scalar, _values(select)))


def _known(column: exp.Column, below: _Below, aliases: set[str]) -> bool:
    """Whether it is known what ``column`` is: one of what is read, or by its alias one of what is shown."""
    if column.table:
        return column.table == below.alias and column.name in below.columns
    return column.name in aliases and column.find_ancestor(exp.Order, exp.Limit, exp.Offset) is not None


def _parts(select: exp.Select) -> Iterator[exp.Expr]:
    for name, part in select.args.items():
        if name not in ("from_", "with_", "settings"):
            yield from _listed(part)


def _values(select: exp.Select) -> Iterator[exp.Expr]:
    """The expressions and conditions of ``select``, and what it is ordered by."""
    where, order = select.args.get("where"), select.args.get("order")
    yield from (p.unalias() for p in select.expressions)
    yield from [where.this] if where is not None else []
    yield from order.expressions if order is not None else []


def is_scalar(value: exp.Expr) -> bool:
    """Whether ``value`` is of one row: nothing in it aggregates, unnests or is not listed."""
    return all(
        node.name in _SCALAR if isinstance(node, exp.Anonymous) else isinstance(node, _NODES) for node in value.walk()
    )


def _of_keys(condition: exp.Expr, keys: frozenset[exp.Expr]) -> bool:
    """Whether ``condition`` may be asked of rows in place of groups: it compares keys, and fails on none."""
    if not isinstance(condition, _COMPARISONS) or not is_scalar(condition):
        return False
    # What is made of constants alone is computed once, wherever it stands.
    harmless = all(n.name in HARMLESS or n.find(exp.Column) is None for n in condition.find_all(exp.Anonymous))
    return harmless and all(c in keys for c in condition.find_all(exp.Column))


def _moved(part: object, scope: Mapping[str, Mapping[str, exp.Expr]]) -> object:
    if isinstance(part, list):
        return [_shown(each, scope) for each in part]
    return moved(part, scope) if isinstance(part, exp.Expr) else part


def _shown(projection: exp.Expr, scope: Mapping[str, Mapping[str, exp.Expr]]) -> exp.Expr:
    """``projection`` moved, under the name that it had."""
    if isinstance(projection, exp.Column):
        return exp.alias_(moved(projection, scope), exp.to_identifier(projection.name, quoted=True))
    return moved(projection, scope)


def _listed(part: object) -> list[exp.Expr]:
    found = part if isinstance(part, list) else [part]
    return [each for each in found if isinstance(each, exp.Expr)]


def _clauses(select: exp.Select) -> set[str]:
    return {name for name, part in select.args.items() if part not in (None, False, [])}
