"""Models that a refreshable view keeps: their table, how often it is replaced, and by what.

What the view runs is the SELECT that would be computed when the model is read, with the read views below written out
down to landing tables, states and other models' tables: a deploy replaces read views at another moment than it makes
this one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlglot import exp

from realtime.emit.jinja import rendered
from realtime.emit.names import quoted
from realtime.emit.readable import readable
from realtime.errors import RefusedError
from realtime.planner import hints
from realtime.planner.ir import Column, Refresh, SourceSpec, Step
from realtime.planner.relations import Relations, state_table
from realtime.transpile.form import column
from realtime.transpile.types import Kind, duck_type

DEFAULT_EVERY = "1 minute"
_EVERY = re.compile(r"([1-9][0-9]{0,4}) (second|minute|hour|day|week)s?")
_INDENT = re.compile(r"^(?=.)", re.MULTILINE)


def refresh_every(options: Mapping[str, Any]) -> str:
    """How often a model is refreshed, as in ``5 minutes``; RefusedError where ``refresh_every`` is no such thing, or
    is said of a model that is not refreshed."""
    given = options.get("refresh_every", DEFAULT_EVERY)
    if "refresh_every" in options and options.get("mode") != "refresh":
        raise RefusedError(
            "meta.realtime.refresh_every is set, but the model is not refreshed",
            construct="meta.realtime.refresh_every",
            remedy="add `mode: refresh`, or drop `refresh_every`",
        )
    if "ttl" in options and options.get("mode") in ("refresh", "published"):
        raise RefusedError(
            "meta.realtime.ttl is set, but the model's rows are replaced as a whole",
            construct="meta.realtime.ttl",
            remedy="drop `ttl`, and leave old rows out in the model's WHERE",
        )
    if "indexes" in options and options.get("mode") == "refresh":
        raise hints.wrong(
            "indexes", "is set, but the table is made anew at every refresh", "drop it, or order the table by it"
        )
    if not isinstance(given, str) or _EVERY.fullmatch(given) is None:
        raise RefusedError(
            f"meta.realtime.refresh_every is {given!r}",
            construct="meta.realtime.refresh_every",
            remedy="write a number and a unit: `30 seconds`, `5 minutes`, `1 hour`, `1 day`, `1 week`",
        )
    return given


def keep_refreshed(
    step: Step, options: Mapping[str, Any], steps: Iterable[Step], relations: Relations, database: str
) -> Step:
    """``step``, whose ``select`` computes the model, with the table that is refreshed and a select that reads it;
    ``steps`` are those planned before. ``options`` are the model's ``meta.realtime``.
    """
    number, unit = refresh_every(options).rstrip("s").split()
    step = msgspec.structs.replace(step, keys=tested_key(step, relations))
    select = _written_out(step.select, {s.model: s for s in steps}, database)
    refresh = Refresh(
        name=step.model,
        relation="",
        view="",
        every=f"{number} {unit.upper()}",
        select=select,
        order_by=table_order(step, options),
        partition_by=hints.partitioning(options, [c.name for c in step.columns], "the model's columns"),
        index_granularity=hints.granularity(options),
    )
    content = [refresh, [c.clickhouse for c in step.columns], _types(select, relations.sources.values())]
    fingerprint = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:10]
    table = f"{database}_state.{step.model}__refreshed_{fingerprint}"
    refresh = msgspec.structs.replace(refresh, relation=table, view=f"{table}__mv", fingerprint=fingerprint)
    return msgspec.structs.replace(step, refresh=refresh, select=read_table(table, step.columns))


def tested_key(step: Step, relations: Relations) -> tuple[str, ...]:
    """The columns by which dbt's tests tell the model's rows apart, in its order; empty where no test does."""
    known = next(iter(relations.unique.get(step.unique_id, ())), frozenset())
    return tuple(c.name for c in step.columns if c.name in known)


def table_order(step: Step, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that a table of the model's rows is ordered by: ``order_by``, else those that identify a row."""
    order = hints.names(options, "order_by") or step.keys
    kinds = {c.name: duck_type(c.type).kind for c in step.columns}
    unknown = [name for name in order if kinds.get(name, Kind.MAP) is Kind.MAP]
    if unknown:
        raise RefusedError(
            f"meta.realtime.order_by names {', '.join(unknown)}, by which a table of the model can't be ordered",
            construct="meta.realtime.order_by",
            remedy=f"order by columns of the model that are no maps: {', '.join(n for n in kinds if n not in unknown)}",
        )
    return order


def read_table(relation: str, columns: Iterable[Column]) -> str:
    """The read view over a table that holds the model's rows, as dbt names it."""
    names = (column(c.name) for c in columns)
    return readable(exp.select(*names).from_(state_table(relation.split(".")[1])))


def _written_out(select: str, steps: Mapping[str, Step], database: str) -> str:
    """``select`` with every model that it reads in place of its name."""
    schemas = {"landing": f"{database}_raw", "state": f"{database}_state"}

    def ref(model: str) -> str:
        return "(\n" + _INDENT.sub("  ", _written_out(steps[model].select, steps, database)) + "\n)"

    return rendered(select, ref, lambda source, table: f"{quoted(schemas[source])}.{quoted(table)}")


def _types(select: str, sources: Iterable[SourceSpec]) -> list[tuple[str, str, str, bool]]:
    """The landing columns that ``select`` may read: with another type its text is the same, its rows are not."""
    return [
        (source.landing, c.name, c.clickhouse, c.name in source.not_null)
        for source in sources
        if quoted(source.landing.split(".")[1]) in select
        for c in source.columns
        if c.name in select
    ]
