"""Splits a grouped select over a stream joined to dimensions: the state is kept per join key, the dimension is joined
when reading, so that a dimension that changes later changes the answer as it does in batch.

The state holds the stream's rows grouped by everything that the rest of the query needs of them; a state that meets
a row of the dimension is merged into that row's group, as the stream's rows would be counted there one by one.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.planner.ctes import prune, standalone
from realtime.planner.passes.drop_unused import drop_unused
from realtime.planner.passes.pick_branch import pick_branch
from realtime.planner.passes.split_aggregate import (
    PLACEHOLDER,
    UPDATED_AT,
    Split,
    combined,
    components_of,
    is_distinct,
    with_updated_at,
)
from realtime.planner.streams import collects
from realtime.transpile.form import call, column, quote


def is_joined(select: exp.Select) -> bool:
    """Whether ``select`` reads one relation inner or left joined to others, each on a condition."""
    joins = select.args.get("joins") or []
    plain = all(j.side in ("", "LEFT") and j.kind in ("", "INNER") and j.args.get("on") is not None for j in joins)
    queries = any(j.args["on"].find(exp.Query) is not None for j in joins) if plain else True
    return bool(joins) and plain and not queries and not any(j.args.get("method") for j in joins)


def split_join(select: exp.Select) -> Split | None:
    """The split of ``select``, a grouped select for which `is_joined` holds and whose first relation is a stream;
    it is left as it is. None where an aggregate takes columns of a dimension."""
    if is_distinct(select):
        return None
    stream = select.args["from_"].this.alias_or_name
    components = components_of(select, {UPDATED_AT})
    if any(c.table != stream for found in components for c in found.find_all(exp.Column)):
        return None
    own, others = _conditions(select, stream)
    keys = _keys(select, others, stream, {UPDATED_AT, *components.values()})
    read = _read(select, others, keys, components)
    outside = [part for name, part in read.args.items() if name not in ("with_", "from_", "joins")]
    outside += [join.args["on"] for join in read.args["joins"]]
    if any(c.table == stream for part in _trees(outside) for c in part.find_all(exp.Column)):
        return None
    view = standalone(select)
    assert isinstance(view, exp.Select)
    for part in ("joins", "where", "having", "qualify", "order", "limit", "offset", "group"):
        view.set(part, None)
    if own:
        view.set("where", exp.Where(this=exp.and_(*own)))
    if keys:
        view.set("group", exp.Group(expressions=[k.copy() for k in keys]))
    projections = [exp.alias_(k.copy(), quote(name)) for k, name in keys.items()]
    projections += [exp.alias_(combined(c, "State"), quote(name)) for c, name in components.items()]
    view.set("expressions", projections)
    views = tuple(with_updated_at(drop_unused(branch)) for branch in pick_branch(_pruned(view)))
    return Split(views=views, read=read, keys=tuple(keys.values()))


def _pruned(view: exp.Select) -> exp.Select:
    prune(view)
    return view


def _conditions(select: exp.Select, stream: str) -> tuple[list[exp.Expr], list[exp.Expr]]:
    """The parts of WHERE that name the stream only, and the others."""
    where = select.args.get("where")
    if where is None:
        return [], []
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    own = [p for p in parts if _is_of(p, stream)]
    return own, [p for p in parts if not any(p is o for o in own)]


def _is_of(node: exp.Expr, stream: str) -> bool:
    """Whether ``node`` is computed of columns of the stream, and of nothing else."""
    columns = list(node.find_all(exp.Column))
    inner = any(map(collects, node.walk()))
    return bool(columns) and not inner and all(c.table == stream for c in columns)


def _keys(select: exp.Select, others: list[exp.Expr], stream: str, taken: set[str]) -> dict[exp.Expr, str]:
    """What the state is grouped by: what of the stream the groups, the joins and the other conditions are made of."""
    group = select.args.get("group")
    roots = [*(group.expressions if group is not None else []), *(j.args["on"] for j in select.args["joins"]), *others]
    shown = {p.unalias(): p.alias_or_name for p in reversed(select.expressions)}
    names: dict[exp.Expr, str] = {}
    for root in roots:
        for node in root.walk(prune=lambda n: _is_of(n, stream)):
            if node in names or not _is_of(node, stream):
                continue
            wanted = shown.get(node) or (node.name if isinstance(node, exp.Column) else "")
            free = bool(wanted) and wanted not in taken
            names[node] = wanted if free else f"key_{len(names) + 1}"
            taken.add(names[node])
    return names


def _read(
    select: exp.Select, others: list[exp.Expr], keys: dict[exp.Expr, str], components: dict[exp.Expr, str]
) -> exp.Select:
    """``select`` over the state in place of the stream."""
    read = select.copy()
    read.set("where", exp.Where(this=exp.and_(*others)) if others else None)
    read.set("from_", exp.From(this=exp.Table(this=quote(PLACEHOLDER), alias=exp.TableAlias(this=quote(PLACEHOLDER)))))
    parts = [read.args.get(name) for name in ("expressions", "where", "group", "having", "qualify", "order")]
    for tree in _trees([*parts, *(join.args["on"] for join in read.args["joins"])]):
        _substitute(tree, keys, components)
    return read


def _trees(parts: list[object]) -> list[exp.Expr]:
    """The trees among the arguments of a node, lists flattened."""
    flat = [n for p in parts for n in (p if isinstance(p, list) else [p])]
    return [n for n in flat if isinstance(n, exp.Expr)]


def _substitute(root: exp.Expr, keys: dict[exp.Expr, str], components: dict[exp.Expr, str]) -> None:
    for node in list(root.walk(prune=lambda n: n in components or n in keys)):
        if node in components:
            merged = call(f"{node.name}Merge", column(components[node], PLACEHOLDER))
            merged.meta["component"] = True
            node.replace(merged)
        elif node in keys:
            node.replace(column(keys[node], PLACEHOLDER))
