"""ROLLUP, CUBE, keys beside them and the total ``()`` to GROUPING SETS without the total, and the total by UNION ALL.

Of no rows the total is one row in DuckDB, and none among ClickHouse's grouping sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from sqlglot import exp

from realtime.transpile.annotate import aggregated, is_aggregate
from realtime.transpile.lower import refused

Keys = tuple[exp.Expr, ...]
_KINDS = (exp.Rollup, exp.Cube, exp.GroupingSets)
_AFTER = ("qualify", "distinct", "windows")
_MOVED = ("with_", "order", "limit", "offset")


def expand_grouping_sets(tree: exp.Query) -> exp.Query:
    """Rewrites every GROUP BY with sets of ``tree``, which is qualified; RefusedError beside DISTINCT and windows."""
    for select in list(tree.find_all(exp.Select)):
        group = select.args.get("group")
        if group is None:
            continue
        if not _has_sets(group):
            _number_groupings(select, {k.unnest() for k in group.expressions})
            continue
        _resolve(group, select)
        sets = _sets(group)
        kept = [s for s in sets if s]
        if len(kept) == len(sets):
            if len(kept) == 1:
                _number_groupings(select, set(kept[0]))
            select.set("group", _grouped(kept))
            continue
        _check_total(select, len(sets) - len(kept))
        found = _with_total(select, kept)
        if select is tree:
            tree = found
        else:
            select.replace(found)
    return tree


def _resolve(group: exp.Group, select: exp.Select) -> None:
    """Numbers within sets are places in the select list; others are resolved already."""
    for part in _parts(group):
        for node in list(part.find_all(exp.Literal)) if isinstance(part, _KINDS) else []:
            if node.is_int and isinstance(node.parent, (*_KINDS, exp.Tuple, exp.Paren)):
                node.replace(select.expressions[int(node.name) - 1].unalias().copy())


def _parts(group: exp.Group) -> Iterable[exp.Expr]:
    yield from group.expressions
    for name in ("rollup", "cube", "grouping_sets"):
        yield from group.args.get(name) or []


def _has_sets(group: exp.Group) -> bool:
    return any(isinstance(p, _KINDS) or _is_total(p) for p in _parts(group))


def _is_total(part: exp.Expr) -> bool:
    return isinstance(part, exp.Tuple) and not part.expressions


def _sets(group: exp.Group) -> list[Keys]:
    """Every set of keys: the parts of GROUP BY multiply."""
    choices = [_of_part(part) for part in _parts(group)]
    products = itertools.product(*choices)
    return [tuple(dict.fromkeys(itertools.chain.from_iterable(product))) for product in products]


def _of_part(part: exp.Expr) -> list[Keys]:
    if isinstance(part, exp.Rollup):
        members = [_members(m) for m in part.expressions]
        return [tuple(itertools.chain.from_iterable(members[:n])) for n in range(len(members), -1, -1)]
    if isinstance(part, exp.Cube):
        members = [_members(m) for m in part.expressions]
        sizes = range(len(members), -1, -1)
        chosen = (c for size in sizes for c in itertools.combinations(members, size))
        return [tuple(itertools.chain.from_iterable(c)) for c in chosen]
    if isinstance(part, exp.GroupingSets):
        return [s for m in part.expressions for s in (_of_part(m) if isinstance(m, _KINDS) else [_members(m)])]
    return [_members(part)]


def _members(node: exp.Expr) -> Keys:
    return tuple(node.expressions) if isinstance(node, exp.Tuple) else (node.unnest(),)


def _grouped(sets: list[Keys]) -> exp.Group:
    if len(sets) == 1:
        return exp.Group(expressions=[k.copy() for k in sets[0]])
    tuples = [exp.Tuple(expressions=[k.copy() for k in keys]) for keys in sets]
    return exp.Group(grouping_sets=[exp.GroupingSets(expressions=tuples)])


def _check_total(select: exp.Select, totals: int) -> None:
    group = select.args["group"]
    if totals > 1 or any(select.args.get(part) for part in _AFTER) or select.find(exp.Window) is not None:
        raise refused(group, "a total beside DISTINCT, windows or another total", remedy="group in a CTE")
    if not any(aggregated(p) for p in select.expressions):
        raise refused(group, "a total of nothing", remedy="select an aggregate, as count(*)")
    order = select.args.get("order")
    for item in order.expressions if order is not None else []:
        if not (isinstance(item.this, exp.Column) and not item.this.table):
            raise refused(item, "ORDER BY an expression beside a total", remedy="order by a column of the result")


def _with_total(select: exp.Select, sets: list[Keys]) -> exp.Query:
    moved = {part: select.args.get(part) for part in _MOVED}
    total = select.copy()
    for part in (*_MOVED, "group"):
        total.set(part, None)
    keys = {k for s in sets for k in s}
    _number_groupings(total, set())
    for clause in (*total.expressions, total.args.get("having")):
        if clause is not None:
            _blank(clause, keys)
    if not sets:
        found: exp.Query = total
    else:
        grouped = select.copy()
        for part in _MOVED:
            grouped.set(part, None)
        grouped.set("group", _grouped(sets))
        if len(sets) == 1:
            _number_groupings(grouped, set(sets[0]))
        found = exp.Union(this=grouped, expression=total, distinct=False)
    for part, value in moved.items():
        found.set(part, value)
    return found


def _number_groupings(select: exp.Select, keys: set[exp.Expr]) -> None:
    """``grouping(a, b)`` of rows that are grouped by ``keys``, of which it has a bit for each that is not there."""
    for call in list(select.find_all(exp.Grouping, exp.GroupingId)):
        bits = sum(1 << i for i, key in enumerate(reversed(call.expressions)) if key.unnest() not in keys)
        call.replace(exp.cast(exp.Literal.number(bits), "bigint", dialect="duckdb"))


def _blank(node: exp.Expr, keys: set[exp.Expr]) -> None:
    """Puts NULL where a key stands outside aggregates."""
    for child in list(node.iter_expressions()):
        if child in keys:
            child.replace(exp.null())
        elif not is_aggregate(child) and not isinstance(child, (exp.Query, exp.Filter, exp.WithinGroup)):
            _blank(child, keys)
