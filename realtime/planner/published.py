"""Models that batch computes and ClickHouse only serves: the table that takes their rows, and its columns' types."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
from sqlglot.errors import SqlglotError

from realtime.dialects.translate import source_in_duckdb, to_duckdb, to_duckdb_type
from realtime.errors import DuetError, RefusedError
from realtime.planner import hints
from realtime.planner.indexes import indexes
from realtime.planner.ir import Column, Published, Shape, Step
from realtime.planner.refresh import read_table, table_order, tested_key
from realtime.planner.relations import Relations
from realtime.project.binder import Binder
from realtime.project.manifest import Model, Project, Source
from realtime.transpile.types import DuckType, Kind, duck_type

Typed = tuple[tuple[str, DuckType], ...]
_ONLY_DUCKDB = frozenset({Kind.STRUCT, Kind.MAP})


def is_published(model: Model) -> bool:
    """Whether the author asks for it."""
    return (model.options or {}).get("mode") == Shape.PUBLISHED


def plan_published(
    model: Model,
    columns: Typed,
    reads: tuple[str, ...],
    relations: Relations,
    database: str,
    adapter: str,
) -> Step:
    """The step of ``model``, whose batch relation has ``columns``; ``reads`` names what it reads, as authored.

    RefusedError where a column's type has no exact ClickHouse form.
    """
    options = model.options or {}
    step = Step(
        model=model.name,
        unique_id=model.unique_id,
        shape=Shape.PUBLISHED,
        why="computed in batch and copied",
        relation=f"{database}.{model.name}",
        batch=model.relation.sql("duckdb"),
        select="",
        columns=tuple(_column(model, name, kind, adapter) for name, kind in columns),
        depends_on=reads,
        description=model.description,
    )
    step = msgspec.structs.replace(step, keys=tested_key(step, relations))
    published = Published(
        name=model.name,
        relation="",
        order_by=table_order(step, options),
        partition_by=hints.partitioning(options, [c.name for c in step.columns], "the model's columns"),
        index_granularity=hints.granularity(options),
        indexes=indexes(options, {c.name: duck_type(c.type).kind for c in step.columns}, "the model's columns"),
    )
    # Without indexes it is what it was before there were any.
    form = {k: v for k, v in msgspec.to_builtins(published).items() if k != "indexes" or v}
    content = [form, [(c.name, c.type, c.clickhouse) for c in step.columns]]
    fingerprint = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:10]
    relation = f"{database}_state.{model.name}__published_{fingerprint}"
    published = msgspec.structs.replace(published, relation=relation, fingerprint=fingerprint)
    return msgspec.structs.replace(step, published=published, select=read_table(relation, step.columns))


def _column(model: Model, name: str, kind: DuckType, adapter: str) -> Column:
    if kind.kind is Kind.NULL:
        raise RefusedError(
            f"column {name} is NULL, of no type", construct=name, remedy=f"cast it, as in `null::varchar as {name}`"
        )
    if kind.kind is Kind.ARRAY and kind.item.name != "FLOAT":
        raise RefusedError(
            f"column {name} is {kind}: vectors hold FLOATs", construct=name, remedy=f"cast it to FLOAT[{kind.size}]"
        )
    if adapter != "duckdb" and kind.kind in _ONLY_DUCKDB:
        raise RefusedError(
            f"column {name} is {kind}, which can't be read from {adapter}",
            construct=name,
            remedy="select its fields as columns, or the whole as JSON text",
        )
    try:
        return Column(name, kind.name, kind.clickhouse, model.descriptions.get(name, ""))
    except RefusedError as error:
        raise RefusedError(
            f"column {name}: {error.message}", construct=name, remedy="cast the column to another type in the model"
        ) from None


def batch_columns(model: Model, project: Project, binder: Binder) -> Typed:
    """Names and types of the columns that ``model`` has in batch: from its SQL where DuckDB binds it over the types of
    what it reads, else as the author declares them; adds what it reads to ``binder`` where that is not there.

    RefusedError where neither tells the types.
    """
    try:
        return _bound(model, project, binder)
    except (DuetError, SqlglotError, RecursionError) as error:
        declared = tuple((name, kind) for name, kind in model.types.items())
        if declared and all(kind for _, kind in declared):
            return tuple((name, _declared(name, kind, project.adapter, binder)) for name, kind in declared)
        missing = ", ".join(name for name, kind in declared if not kind)
        reason = error.message if isinstance(error, DuetError) else str(error).splitlines()[0]
        raise RefusedError(
            f"the types of its columns are not known: {reason}",
            construct=model.name,
            remedy="declare every column of the model with its `data_type`"
            + (f" ({missing} lack it)" if missing else ""),
        ) from None


def _declared(name: str, kind: str, adapter: str, binder: Binder) -> DuckType:
    try:
        found = binder.describe(f"SELECT CAST(NULL AS {to_duckdb_type(kind, adapter)}) AS c")
    except RefusedError as error:
        raise RefusedError(
            f"column {name} is declared {kind}: {error.message}", construct=name, remedy="correct its `data_type`"
        ) from None
    return found[0][1]


def _bound(model: Model, project: Project, binder: Binder) -> Typed:
    if model.kind != "model":
        raise RefusedError(f"a {model.kind} has no SQL to tell them")
    for node in _read_by(model.depends_on, project):
        if _key(node) not in binder.columns:
            columns = _columns_of(node, project, binder)
            binder.add_table(node.relation, [(name, kind.name) for name, kind in columns])
    sql = model.sql if project.adapter == "duckdb" else to_duckdb(model.sql, project.adapter, binder).sql("duckdb")
    return binder.describe(sql)


def _columns_of(node: Model | Source, project: Project, binder: Binder) -> Typed:
    if isinstance(node, Model):
        return batch_columns(node, project, binder)
    typed = source_in_duckdb(node, project.adapter).typed_columns()
    return tuple((name, duck_type(kind)) for name, kind in typed)


def _read_by(unique_ids: Iterable[str], project: Project) -> Iterator[Model | Source]:
    """What is read; of an ephemeral model, which dbt writes into its readers, what that reads."""
    for unique_id in unique_ids:
        model = project.models.get(unique_id)
        if model is not None and model.ephemeral:
            yield from _read_by(model.depends_on, project)
        elif model is not None:
            yield model
        elif unique_id in project.sources:
            yield project.sources[unique_id]


def _key(node: Model | Source) -> tuple[str, str, str]:
    return (node.relation.catalog.lower(), node.relation.db.lower(), node.relation.name.lower())
