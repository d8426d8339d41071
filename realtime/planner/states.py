"""State tables: what a split keeps, named by a fingerprint of everything that decides its contents."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlglot import exp

from realtime.emit.names import quoted
from realtime.emit.readable import readable
from realtime.errors import RefusedError
from realtime.planner import hints
from realtime.planner.expiry import Expiry, Span, is_recent, of_groups
from realtime.planner.indexes import indexes
from realtime.planner.ir import Shards, SourceSpec, State, View
from realtime.planner.passes.split_aggregate import PLACEHOLDER, Split
from realtime.planner.relations import Relations, state_table, to_landing
from realtime.planner.streams import stream_tables
from realtime.transpile.form import column, form, quote
from realtime.transpile.settings import with_settings
from realtime.transpile.types import Kind

_MOMENTS = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
_KEYS = "the keys of the state"
Types = list[tuple[str, str, bool]]
"""Columns, each with its type and whether it is never NULL."""


def expiring(split: Split, options: Mapping[str, Any], kinds: Mapping[str, Kind]) -> tuple[Split, Expiry]:
    """When groups of ``split`` expire, and ``split`` reading only those that have not: a row that comes later than
    that begins its group anew, without the rows from before. ``kinds`` are those of the model's columns."""
    partition_by = hints.partitioning(options, split.keys, _KEYS)
    ttl = hints.time_to_live(options, split.keys, _KEYS)
    if not isinstance(ttl, Span):
        return split, Expiry(ttl, partition_by)
    times = [key for key in split.keys if kinds.get(key) in _MOMENTS]
    if len(times) != 1:
        found = f"has the times {', '.join(times)}" if times else "has no date or timestamp that the model shows"
        raise hints.wrong(
            "ttl",
            f"is {ttl}, but the state, grouped by {', '.join(split.keys) or 'nothing'}, {found}",
            "write it as an expression over one of them, as in `ttl: sent_minute + INTERVAL 90 DAY`",
        )
    key = quoted(times[0])
    read = split.read.copy().where(form(is_recent(ttl, "k"), k=column(times[0], PLACEHOLDER)), copy=False)
    expiry = of_groups(ttl, key)
    own = Expiry(expiry.ttl, partition_by) if partition_by else expiry
    return dataclasses.replace(split, read=read), own


def make_state(
    name: str,
    split: Split,
    relations: Relations,
    database: str,
    options: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    expiry: Expiry,
) -> State:
    """The state of ``split``; physical hints come from ``options`` (``meta.realtime`` of the model), ``kinds`` are
    those of the model's columns."""
    views = tuple(_view(view, relations) for view in split.views)
    state = State(
        name=name,
        relation="",
        engine="AggregatingMergeTree",
        order_by=_order_by(split, options),
        partition_by=expiry.partition_by,
        ttl=expiry.ttl,
        whole_parts=expiry.whole_parts,
        index_granularity=hints.granularity(options),
        views=views,
        latest=split.latest,
        shards=Shards(relations.cluster, tuple(split.keys[:1])) if relations.cluster else None,
    )
    types = [_types(view, relations) for view in split.views]
    united = ["united"] if _is_united(types) else []
    fingerprint = hashlib.sha256(msgspec.json.encode([state, types, *united])).hexdigest()[:10]
    table = f"{database}_state.{name}__{fingerprint}"
    named = tuple(
        msgspec.structs.replace(v, name=f"{table}__mv" if len(views) == 1 else f"{table}__mv_{i}")
        for i, v in enumerate(views, start=1)
    )
    # Indexes come and go while the table stays: they are no part of what it is.
    found = indexes(options, {key: kinds.get(key, Kind.OTHER) for key in split.keys}, _KEYS)
    return msgspec.structs.replace(state, relation=table, fingerprint=fingerprint, views=named, indexes=found)


def _view(select: exp.Select, relations: Relations) -> View:
    landing = _source(select, relations).landing
    query = to_landing(select.copy(), relations)
    return View(name="", landing=landing, select=readable(with_settings(query), copy=False))


def _source(select: exp.Select, relations: Relations) -> SourceSpec:
    tables = stream_tables(select.args["from_"].this, relations.appended)
    assert tables is not None
    (table,) = tables  # pick_branch leaves no union
    source = relations.source(table)
    assert source is not None
    return source


def _is_united(types: Sequence[Types]) -> bool:
    """Whether the first view reads what is never NULL and another one what may be: its columns are wider than the first
    view's. Tables that were made of the first view alone refuse rows, so these have another name."""
    return any(never for _, _, never in types[0]) and any(each != types[0] for each in types[1:])


def _types(select: exp.Select, relations: Relations) -> Types:
    """The landing columns that a view reads: with another type its text is the same, its state is not."""
    source, used = _source(select, relations), {c.name for c in select.find_all(exp.Column)}
    return [(c.name, c.clickhouse, c.name in source.not_null) for c in source.columns if c.name in used]


def _order_by(split: Split, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The state's keys, those that the author names first."""
    first = list(hints.names(options, "order_by"))
    unknown = [c for c in first if c not in split.keys]
    if unknown:
        raise RefusedError(
            f"meta.realtime.order_by names {', '.join(unknown)}, by which the model is not grouped",
            remedy=f"order by its keys: {', '.join(split.keys)}",
        )
    return tuple(first + [k for k in split.keys if k not in first])


def read_from(split: Split, state: State) -> exp.Select:
    """The split's read select, its placeholder replaced by the state's table as dbt names it."""
    read = split.read.copy()
    for reference in list(read.find_all(exp.Table)):
        if reference.name == PLACEHOLDER:
            named = state_table(state.relation.split(".")[1])
            named.set("alias", exp.TableAlias(this=quote(PLACEHOLDER)))
            reference.replace(named)
    return read
