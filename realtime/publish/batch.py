"""A model's rows in batch, as a stream of Arrow batches whose columns ClickHouse takes without loss."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import sqlglot
from sqlglot import exp

from realtime.errors import ConfigError, NotBuiltError
from realtime.ingest.lake import open_batch, relation_comment
from realtime.ingest.parquet import duckdb_type
from realtime.parity.sides import columns_differ
from realtime.planner.ir import Column, Step
from realtime.project.profile import batch_target, duckdb_path
from realtime.publish.warehouse import warehouse_rows
from realtime.publish.wire import to_wire, unfit
from realtime.settings import Settings
from realtime.transpile.types import NESTED, duck_type

_ROWS = 65_536
_MEMORY = "1GB"


@dataclasses.dataclass(frozen=True)
class Batch:
    """``rows`` in columns ``c0``, ``c1`` … in the plan's order; ``total`` counts them."""

    total: int
    rows: pa.RecordBatchReader


@contextlib.contextmanager
def batch_rows(settings: Settings, step: Step) -> Iterator[Batch]:
    """The rows of ``step`` in batch: of its relation in the DuckDB file, else through dbt's adapter.

    NotBuiltError where batch does not have the model, or not with the columns of ``step``; a duckdb.Error while its
    rows are read where one holds a value that ClickHouse does not.
    """
    relation = sqlglot.to_table(step.batch, dialect="duckdb")
    if _in_file(settings):
        path = duckdb_path(settings.project_dir)
        if not path.exists():
            raise _not_built(step, "there is no batch database yet")
        with open_batch(path, read_only=True) as connection:
            _set_up(connection)
            _check(connection, relation, step)
            yield read_rows(connection, relation, step, count_rows(connection, relation))
    else:
        with warehouse_rows(settings, step) as (total, rows), duckdb.connect() as connection:
            _set_up(connection)
            connection.register("batch", rows)
            yield read_rows(connection, exp.to_table("batch"), step, total)


def _in_file(settings: Settings) -> bool:
    """Whether the batch target is a DuckDB file, which is read faster than through dbt."""
    if batch_target(settings.project_dir).get("type") != "duckdb":
        return False
    try:
        duckdb_path(settings.project_dir)
    except ConfigError:
        return False
    return True


def _set_up(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"SET TimeZone = 'UTC'; SET memory_limit = '{_MEMORY}'; SET preserve_insertion_order = false")


def _check(connection: duckdb.DuckDBPyConnection, relation: exp.Table, step: Step) -> None:
    """NotBuiltError where the relation is missing or has other columns."""
    if relation_comment(connection, relation) is None:
        raise _not_built(step, f"there is no {relation.sql('duckdb')}")
    described = connection.execute(exp.Describe(this=relation.copy()).sql("duckdb")).fetchall()
    actual: Mapping[str, str] = {row[0]: row[1] for row in described}
    different = columns_differ("batch", actual, {c.name: c.type for c in step.columns})
    if different:
        raise _not_built(step, different.rpartition(": run ")[0])


def _not_built(step: Step, why: str) -> NotBuiltError:
    return NotBuiltError(f"model {step.model} is not built in batch: {why}", remedy="build it first: duet batch")


def count_rows(connection: duckdb.DuckDBPyConnection, relation: exp.Table) -> int:
    """How many rows ``relation`` has."""
    query = exp.select(exp.Count(this=exp.Star())).from_(relation.copy())
    ((rows,),) = connection.execute(query.sql("duckdb")).fetchall()
    return int(rows)


def read_rows(connection: duckdb.DuckDBPyConnection, relation: exp.Table, step: Step, total: int) -> Batch:
    """The ``total`` rows of ``relation``, which has the columns of ``step``, as they travel."""
    values = [exp.alias_(_checked(step, column), f"c{i}") for i, column in enumerate(step.columns)]
    query = exp.select(*values).from_(exp.alias_(relation.copy(), "model", table=True))
    return Batch(total, connection.sql(query.sql("duckdb")).to_arrow_reader(_ROWS))


def _checked(step: Step, column: Column) -> exp.Expr:
    """The column's value as it travels; an error that names the column where ClickHouse would hold another."""
    kind = duck_type(column.type)
    value = exp.cast(exp.column(column.name, table="model", quoted=True), duckdb_type(kind))
    condition = unfit(value, kind)
    if condition is None:
        return to_wire(value, kind)
    if kind.kind in NESTED:
        what = "a NULL list, array, struct or map, or a moment outside 1900 to 2299"
        why = f"is or holds {what}: coalesce(…) it in the model"
    else:
        why = "is outside 1900 to 2299, which ClickHouse does not hold: use NULL, or text, in the model"
    shown = exp.func("coalesce", exp.cast(value.copy(), "VARCHAR"), exp.Literal.string("NULL"), dialect="duckdb")
    parts = [exp.Literal.string(f"model {step.model}: {column.name} = "), shown, exp.Literal.string(f" {why}")]
    error = exp.Anonymous(this="error", expressions=[exp.Anonymous(this="concat", expressions=parts)])
    return exp.case().when(condition, error).else_(to_wire(value, kind))
