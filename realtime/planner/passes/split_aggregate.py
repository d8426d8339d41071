"""Splits a grouped select over a stream between insert and read.

What it groups and aggregates goes into a state table, kept by one materialized view per landing table;
what it computes from keys and aggregates stays in the read view.
"""

from __future__ import annotations

import dataclasses

from sqlglot import exp

from realtime.planner.ctes import standalone
from realtime.planner.passes.drop_unused import drop_unused
from realtime.planner.passes.pick_branch import pick_branch
from realtime.planner.passes.thread_ingested import thread_ingested
from realtime.planner.streams import collects, is_component, own_expressions
from realtime.transpile.form import call, column, quote

UPDATED_AT = "_updated_at"


@dataclasses.dataclass(frozen=True)
class Split:
    """``views`` fill the state, one per branch of the stream; ``read`` is the select over the state, whose
    table stands in as `PLACEHOLDER` until the state has a name; ``keys`` are its key columns in order;
    ``latest`` says that it keeps one row per key."""

    views: tuple[exp.Select, ...]
    read: exp.Select
    keys: tuple[str, ...]
    latest: bool = False


PLACEHOLDER = "_state"


def is_grouped(select: exp.Select) -> bool:
    """Whether ``select`` aggregates in a way that a state can keep: plain keys, or none, or DISTINCT rows."""
    group = select.args.get("group")
    if is_distinct(select):
        return True
    if group is not None:
        special = ("rollup", "cube", "grouping_sets", "totals", "all")
        return bool(group.expressions) and not any(group.args.get(k) for k in special) and _plain(group)
    return any(map(is_component, own_expressions(select, exp.Anonymous)))


def is_distinct(select: exp.Select) -> bool:
    """Whether ``select`` gives distinct rows of its source and does nothing else: each row is a key."""
    others = any(select.args.get(part) for part in ("group", "having", "qualify", "windows", "limit", "offset"))
    if not select.args.get("distinct") or others:
        return False
    return not any(map(collects, own_expressions(select, exp.Window, exp.Query, exp.Anonymous)))


def _by_rows(select: exp.Select) -> exp.Select:
    """``SELECT DISTINCT a, b`` as ``SELECT a, b … GROUP BY a, b``, where it stands, so that its CTEs stay known."""
    grouped = select.copy()
    grouped.parent, grouped.arg_key, grouped.index = select.parent, select.arg_key, select.index
    grouped.set("distinct", None)
    grouped.set("group", exp.Group(expressions=[p.unalias().copy() for p in select.expressions]))
    return grouped


def _plain(group: exp.Group) -> bool:
    return not any(isinstance(k, (exp.Rollup, exp.Cube, exp.GroupingSets, exp.Literal)) for k in group.expressions)


def split_aggregate(select: exp.Select) -> Split:
    """The split of ``select``, a grouped select over a stream; ``select`` itself is left as it is."""
    if is_distinct(select):
        select = _by_rows(select)
    keys = _keys(select)
    components = components_of(select, {UPDATED_AT, *keys.values()})
    view = standalone(select)
    assert isinstance(view, exp.Select)
    projections = [exp.alias_(k.copy(), quote(keys[k])) for k in keys]
    projections += [exp.alias_(combined(c, "State"), quote(name)) for c, name in components.items()]
    for part in ("having", "qualify", "order", "limit", "offset", "distinct", "windows"):
        view.set(part, None)
    view.set("expressions", projections)
    views = tuple(with_updated_at(drop_unused(branch)) for branch in pick_branch(view))
    return Split(views=views, read=_read(select, keys, components), keys=tuple(keys.values()))


def with_updated_at(view: exp.Select) -> exp.Select:
    """Adds the hidden column that says when a group last changed, in place."""
    newest = call("maxSimpleState", thread_ingested(view))
    view.append("expressions", exp.alias_(newest, quote(UPDATED_AT)))
    return view


def _keys(select: exp.Select) -> dict[exp.Expr, str]:
    """Group keys, each with the name of the projection that shows it, or ``key_<n>``."""
    group = select.args.get("group")
    shown = {_bare(p.unalias()): p.alias_or_name for p in reversed(select.expressions)}
    names: dict[exp.Expr, str] = {}
    for number, key in enumerate(group.expressions if group is not None else [], start=1):
        name = shown.get(_bare(key), f"key_{number}")
        names[key] = name if name not in {UPDATED_AT, *names.values()} else f"key_{number}"
    return names


def _bare(node: exp.Expr) -> exp.Expr:
    """``node`` without the casts around it that only fix its column's type."""
    while isinstance(node, exp.Paren) or (isinstance(node, exp.Anonymous) and node.name == "CAST"):
        node = node.this if isinstance(node, exp.Paren) else node.expressions[0]
    return node


def components_of(select: exp.Select, taken: set[str]) -> dict[exp.Expr, str]:
    """Distinct aggregate calls of ``select``, each with the name of its state column."""
    names: dict[exp.Expr, str] = {}
    for projection in select.expressions:
        base = projection.alias_or_name
        calls = [n for n in projection.walk(prune=lambda n: isinstance(n, exp.Query)) if is_component(n)]
        for found in calls:
            if found not in names:
                wanted = base if len(calls) == 1 else f"{base}_{found.name}"
                names[found] = _free(wanted, taken)
    for found in own_expressions(select, exp.Anonymous):
        if is_component(found) and found not in names:
            names[found] = _free(found.name, taken)
    return names


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name


def combined(component: exp.Expr, combinator: str) -> exp.Expr:
    """The aggregate call with ``combinator`` behind its name."""
    return call(component.name + combinator, *component.expressions)


def _read(select: exp.Select, keys: dict[exp.Expr, str], components: dict[exp.Expr, str]) -> exp.Select:
    """``select`` over the state: keys and aggregates become columns and merges of it."""
    read = select.copy()
    read.set("with_", None)
    read.set("joins", None)
    read.set("where", None)
    read.set("from_", exp.From(this=exp.Table(this=quote(PLACEHOLDER), alias=exp.TableAlias(this=quote(PLACEHOLDER)))))
    for part in (*read.expressions, *(read.args.get(p) for p in ("having", "qualify", "order"))):
        if part is not None:
            _substitute(part, keys, components)
    if keys:
        read.set("group", exp.Group(expressions=[column(n, PLACEHOLDER) for n in keys.values()]))
    return read


def _substitute(root: exp.Expr, keys: dict[exp.Expr, str], components: dict[exp.Expr, str]) -> None:
    for node in list(root.walk(prune=lambda n: n in components or n in keys)):
        if node in components:
            merged = call(f"{node.name}Merge", column(components[node], PLACEHOLDER))
            merged.meta["component"] = True
            node.replace(merged)
        elif node in keys and not isinstance(node.parent, exp.Group):
            node.replace(column(keys[node], PLACEHOLDER))
