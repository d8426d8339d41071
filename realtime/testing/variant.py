"""A model as a unit test sees it: each input that has given rows is a source of its own.

So the model's materialized views hang on landing tables that hold exactly the given rows, also where an input is a
model that ClickHouse keeps in a state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from sqlglot import exp

from realtime.planner.ir import Plan, Shape, SourceSpec, Step
from realtime.planner.planner import plan_project
from realtime.project.binder import table
from realtime.project.manifest import Model, Project, Source
from realtime.testing.fixtures import PREFIX

# Rows of a test are of any age: nothing may expire.
_HINTS = frozenset({"order_by", "partition_by", "index_granularity"})
_MODES = (Shape.READ, Shape.REFRESH)


@dataclasses.dataclass(frozen=True)
class Variant:
    """The sources that take the given rows; the model compiled to one SELECT over them; the model as it is kept."""

    sources: tuple[SourceSpec, ...]
    compiled: Step
    kept: Plan


def plan_variant(project: Project, model: Model, query: exp.Query, given: Sequence[Source], database: str) -> Variant:
    """Plans ``query``, the SQL of ``model`` over the ``given`` sources in DuckDB's dialect; the errors of a refused
    model."""
    options = model.options or {}
    hints = {k: v for k, v in options.items() if k in _HINTS or (k == "mode" and v in _MODES)}
    compiled = _planned(project, model, query, given, database, {"mode": str(Shape.READ)})
    kept = _planned(project, model, query, given, database, hints)
    return Variant(kept.sources, compiled.steps[0], kept)


def _planned(
    project: Project,
    model: Model,
    query: exp.Query,
    given: Sequence[Source],
    database: str,
    options: Mapping[str, Any],
) -> Plan:
    sources = {source.unique_id: source for source in given}
    tested = dataclasses.replace(
        model, sql=query.sql("duckdb"), raw="", depends_on=tuple(sources), options=options, ephemeral=False
    )
    alone = dataclasses.replace(
        project, adapter="duckdb", sources=sources, models={tested.unique_id: tested}, tests=(), queries=(), cluster=""
    )
    outcome = plan_project(alone, database)
    if outcome.refusals:
        raise outcome.refusals[0]
    return outcome.plan


def given_source(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str], original: SourceSpec | None
) -> Source:
    """The source that takes the rows of the DuckDB table ``name``. It is of ``original``'s kind, the source that the
    input is (None: a model), as far as the given rows are: a NULL in a key, say, can only be appended."""
    known = _never_null(connection, name, columns)
    upserted = original is not None and original.mode == "upsert" and _one_per_key(connection, name, original, known)
    options: dict[str, Any] = {}
    if upserted and original is not None:
        options = {"mode": "upsert", "key": list(original.key), "version": original.version}
        options |= {"deleted": original.deleted} if original.deleted in columns else {}
    return Source(
        unique_id=f"source.{name}",
        name=f"given.{name.removeprefix(PREFIX)}",
        relation=table(name),
        columns=columns,
        options=options,
        not_null=tuple(c for c in (original.not_null if original is not None else ()) if c in known),
        description="",
        descriptions={},
        path="",
        opted_in=True,
    )


def _never_null(connection: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str]) -> set[str]:
    """The columns that hold no NULL in the given rows."""
    counts = [exp.Count(this=exp.column(c, quoted=True)) for c in columns]
    query = exp.select(exp.Count(this=exp.Star()), *counts).from_(table(name))
    row = connection.execute(query.sql("duckdb")).fetchone()
    assert row is not None
    return {column for column, count in zip(columns, row[1:], strict=True) if count == row[0]}


def _one_per_key(connection: duckdb.DuckDBPyConnection, name: str, original: SourceSpec, known: set[str]) -> bool:
    """Whether the given rows are what an upserted source shows: one per key, with a version, none deleted."""
    if not {*original.key, original.version} <= known:
        return False
    keys = [exp.column(k, quoted=True) for k in original.key]
    if original.deleted:
        deleted = exp.select(exp.column(original.deleted, quoted=True)).from_(table(name))
        if any(flag for (flag,) in connection.execute(deleted.sql("duckdb")).fetchall()):
            return False
    rows = connection.execute(exp.select(*keys).from_(table(name)).sql("duckdb")).fetchall()
    return len(set(rows)) == len(rows)
