"""The two sides of a comparison, each as a DuckDB view of columns ``c0``, ``c1`` … in the order of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import msgspec
import sqlglot
from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.errors import CommandError, ConfigError
from realtime.ingest.lake import relation_comment
from realtime.ingest.lake_files import row_count
from realtime.ingest.parquet import duckdb_type, from_parquet, to_parquet
from realtime.planner.ir import Column, Step
from realtime.transpile.types import DuckType, Kind, duck_type

_SETTINGS = {
    "session_timezone": "UTC",
    "output_format_parquet_row_group_size": 122_880,
    "output_format_parquet_row_group_size_bytes": 64 << 20,
    "output_format_parquet_compression_method": "lz4",
}
_WRAPPERS = ("Nullable(", "LowCardinality(")


class Side(msgspec.Struct, frozen=True):
    """How many rows a side has; ``problem`` says why they can't be compared, empty where they can."""

    rows: int = 0
    problem: str = ""


def batch_side(connection: duckdb.DuckDBPyConnection, step: Step) -> Side:
    """Makes the view ``batch`` of the model's relation in the batch database."""
    relation = sqlglot.to_table(step.batch, dialect="duckdb")
    if relation_comment(connection, relation) is None:
        return Side(problem="batch relation is missing: run duet batch")
    name = relation.sql("duckdb")
    try:
        rows = _count(connection, name)
        actual = {row[0]: row[1] for row in connection.execute(f"DESCRIBE {name}").fetchall()}
        declared = {column.name: column.type for column in step.columns}
        problem = columns_differ("batch", actual, declared)
        if not problem:
            _create_view(connection, "batch", [exp.column(c.name, quoted=True) for c in step.columns], step, relation)
        return Side(rows, problem)
    except duckdb.Error as error:
        return Side(problem=f"batch relation can't be read: {str(error).splitlines()[0]}")


def realtime_side(
    connection: duckdb.DuckDBPyConnection, client: ClickHouse, step: Step, file: Path, view: str = "realtime"
) -> Side:
    """Makes ``view`` of the model's rows in ClickHouse, which go through ``file``."""
    database, name = step.relation.split(".", 1)
    relation = exp.table_(name, db=database, quoted=True)
    described = client.rows(
        "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {name:String}",
        {"database": database, "name": name},
    )
    if not described:
        return Side(problem="real-time view is missing: run duet deploy")
    actual = {row["name"]: _plain(row["type"]) for row in described}
    declared = {column.name: _plain(column.clickhouse) for column in step.columns}
    problem = columns_differ("real time", actual, declared)
    try:
        if problem:
            count = exp.select(exp.Count(this=exp.Star())).from_(relation)
            return Side(int(client.value(count.sql("clickhouse"))), problem)
        client.download(_select(relation, step.columns), file, settings=_SETTINGS)
        rows = row_count([file])
    except CommandError as error:
        return Side(problem=f"real-time view can't be read: {error.message}")
    except ConfigError:
        return Side(problem="real-time view can't be read: ClickHouse's answer broke off; its log says why")
    values = [from_parquet(exp.column(f"c{i}"), duck_type(c.type)) for i, c in enumerate(step.columns)]
    read = exp.Anonymous(this="read_parquet", expressions=[exp.Literal.string(str(file))])
    _create_view(connection, view, values, step, exp.Table(this=read))
    return Side(rows)


def _select(relation: exp.Table, columns: Sequence[Column]) -> str:
    """ClickHouse's rows as Parquet with columns ``c0``, ``c1`` …"""
    values = [
        exp.alias_(to_parquet(exp.column(c.name, table="model", quoted=True), duck_type(c.type)), f"c{i}")
        for i, c in enumerate(columns)
    ]
    query = exp.select(*values).from_(exp.alias_(relation, "model", table=True))
    query.set("format", exp.to_identifier("Parquet"))
    return query.sql("clickhouse")


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, values: Sequence[exp.Expr], step: Step, origin: exp.Table
) -> None:
    kinds = [duck_type(column.type) for column in step.columns]
    named = [exp.alias_(_comparable(v, k), f"c{i}") for i, (v, k) in enumerate(zip(values, kinds, strict=True))]
    query = exp.select(*named).from_(origin)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query.sql('duckdb')}")


def _comparable(value: exp.Expr, kind: DuckType) -> exp.Expr:
    """``value`` so that equal values compare equal: a map's entries have no order."""
    if kind.kind is Kind.JSON:
        return exp.cast(value, exp.DataType.build("VARCHAR"))
    if kind.kind is Kind.MAP:
        entries = exp.Anonymous(this="list_sort", expressions=[exp.Anonymous(this="map_entries", expressions=[value])])
        return exp.cast(exp.Anonymous(this="map_from_entries", expressions=[entries]), duckdb_type(kind))
    return value


def columns_differ(side: str, actual: Mapping[str, str], declared: Mapping[str, str]) -> str:
    """What is wrong with the columns or types of a side; empty where they are as planned."""
    missing = [name for name in declared if name not in actual]
    extra = [name for name in actual if name not in declared]
    if missing or extra:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(extra)}"] if extra else []
        return f"columns differ: {side} {' and '.join(parts)}: run duet {_RENEW[side]}"
    wrong = [f"{n} is {actual[n]} in {side}, {t} in the plan" for n, t in declared.items() if actual[n] != t]
    return f"type differs: {'; '.join(wrong)}: run duet {_RENEW[side]}" if wrong else ""


_RENEW = {"batch": "batch", "real time": "deploy"}


def _plain(kind: str) -> str:
    """A ClickHouse type without what does not change its values."""
    for wrapper in _WRAPPERS:
        while wrapper in kind:
            start = kind.index(wrapper)
            end = _closing(kind, start + len(wrapper))
            kind = kind[:start] + kind[start + len(wrapper) : end] + kind[end + 1 :]
    return kind.replace("`", "")


def _closing(text: str, at: int) -> int:
    """Where the parenthesis that was opened before ``at`` closes."""
    depth = 1
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place
    return len(text)


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
    assert row is not None
    return int(row[0])
