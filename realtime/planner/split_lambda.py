"""A lambda's aggregates over streams, split as those of models are: what a state could hold, and what merges it."""

from __future__ import annotations

import dataclasses

import msgspec
from sqlglot import exp

from realtime.emit.readable import readable
from realtime.planner.ctes import prune
from realtime.planner.failures import UncountableError
from realtime.planner.passes.carry_failures import carry_failures
from realtime.planner.passes.split_aggregate import PLACEHOLDER, Split, is_grouped, split_aggregate
from realtime.planner.relations import Relations, to_landing, to_read_views
from realtime.planner.shapes import over_stream
from realtime.transpile.form import quote
from realtime.transpile.settings import with_settings

PART = "_part_"
"""Begins the name that stands in the query for the rows of one of its parts; the part's number follows."""
_CONSTANT = "_constant_"


class SplitQuery(msgspec.Struct, frozen=True):
    """``query`` is ClickHouse SQL that merges aggregates of ``_part_0``, ``_part_1`` …; each of ``parts`` are the
    selects that make rows of such a state from landing tables, one per branch of the stream."""

    query: str
    parts: tuple[tuple[str, ...], ...]


class SplitLambda(msgspec.Struct, frozen=True):
    """A lambda's query for one call, that for many, and that for a page after the first, each as far as it could read
    states."""

    one: SplitQuery | None = None
    many: SplitQuery | None = None
    after: SplitQuery | None = None


def split_query(tree: exp.Query, name: str, relations: Relations, database: str) -> SplitQuery | None:
    """The split of ``tree``, the compiled query of lambda ``name`` with streams inlined, which it takes apart; None
    where it aggregates no stream."""
    parts: list[tuple[str, ...]] = []
    for select in reversed(list(tree.find_all(exp.Select))):
        split = _split(select, name, relations)
        if split is None:
            continue
        read = split.read.copy()
        for table in [t for t in read.find_all(exp.Table) if t.name == PLACEHOLDER]:
            table.set("this", quote(f"{PART}{len(parts)}"))
        parts.append(tuple(readable(to_landing(view.copy(), relations)) for view in split.views))
        if select is tree:
            tree = read
        else:
            select.replace(read)
    if not parts:
        return None
    query = to_read_views(prune(tree), relations, database)
    return SplitQuery(readable(with_settings(query)), tuple(parts))


def _split(select: exp.Select, name: str, relations: Relations) -> Split | None:
    if not is_grouped(select) or not over_stream(select, relations):
        return None
    constants: dict[str, exp.Expr] = {}
    split = split_aggregate(select)
    try:
        views = tuple(_hidden(view, constants) for view in split.views)
        split = carry_failures(dataclasses.replace(split, views=views), name)
    except UncountableError:
        return None
    return dataclasses.replace(split, views=tuple(_shown(view, constants) for view in split.views))


def _hidden(view: exp.Select, constants: dict[str, exp.Expr]) -> exp.Select:
    """``view`` with columns in place of what is made of parameters alone, in place: on what fails there, no row has a
    bearing. ``constants`` takes it."""
    for used in list(view.find_all(exp.Placeholder)):
        if used.find_ancestor(exp.Select) is None:
            continue  # it is a part of one that was found before
        found: exp.Expr = used
        while isinstance(found.parent, exp.Condition) and found.parent.find(exp.Column) is None:
            found = found.parent
        stand_in = f"{_CONSTANT}{len(constants)}"
        constants[stand_in] = found.copy()
        found.replace(exp.column(stand_in, quoted=True))
    return view


def _shown(view: exp.Select, constants: dict[str, exp.Expr]) -> exp.Select:
    """``view`` with its constants again, in place."""
    for found in [c for c in view.find_all(exp.Column) if c.name in constants]:
        found.replace(constants[found.name].copy())
    return view
