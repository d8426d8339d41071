"""Rows of an upserted source as of the lake in batch: what newer rows have replaced, no landing table keeps."""

from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec
import sqlglot
from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.emit.landing import column_type
from realtime.ingest.parquet import from_parquet, to_parquet
from realtime.planner.ir import Shape, SourceSpec, Step
from realtime.publish.batch import count_rows, read_rows
from realtime.publish.copy import load_rows
from realtime.transpile.types import duck_type

_WANTED, _FOUND = "wanted_keys", "newest_rows"


def load_newest(
    client: ClickHouse, connection: duckdb.DuckDBPyConnection, source: SourceSpec, keys: str, into: str, folder: Path
) -> None:
    """Puts the rows that batch reads of ``source`` for the keys in the table ``keys`` into the table ``into``, which is
    empty; ``folder`` takes what passes between the engines. ConfigError naming a value that ClickHouse can't hold."""
    _read_keys(client, connection, source, keys, folder / "keys.parquet")
    relation = exp.alias_(sqlglot.to_table(source.batch, dialect="duckdb"), "source", table=True)
    same = exp.and_(
        *(exp.EQ(this=exp.column(k, table="source", quoted=True), expression=exp.column(k, table=_WANTED, quoted=True))
          for k in source.key)
    )  # fmt: skip
    rows = exp.select(*(exp.column(c.name, table="source", quoted=True) for c in source.columns)).from_(relation)
    _create_view(connection, _FOUND, rows.join(exp.to_table(_WANTED), on=same, join_type="semi"))
    found = exp.to_table(_FOUND)
    columns = tuple(msgspec.structs.replace(c, clickhouse=column_type(source, c)) for c in source.columns)
    carrier = Step(
        model=source.name, unique_id="", shape=Shape.READ, why="", relation="", batch="", select="", columns=columns
    )
    batch = read_rows(connection, found, carrier, count_rows(connection, found))
    load_rows(client, carrier, into, batch, lambda *_: None)


def _read_keys(
    client: ClickHouse, connection: duckdb.DuckDBPyConnection, source: SourceSpec, keys: str, file: Path
) -> None:
    """Makes the keys in the table ``keys`` a view in DuckDB."""
    kinds = {c.name: duck_type(c.type) for c in source.columns if c.name in source.key}
    values = [exp.alias_(to_parquet(exp.column(k, quoted=True), kind), k, quoted=True) for k, kind in kinds.items()]
    database, name = keys.split(".")
    query = exp.select(*values).from_(exp.table_(name, db=database, quoted=True))
    query.set("format", exp.to_identifier("Parquet"))
    client.download(query.sql("clickhouse"), file, settings={"session_timezone": "UTC"})
    read = exp.Table(this=exp.Anonymous(this="read_parquet", expressions=[exp.Literal.string(str(file))]))
    back = [exp.alias_(from_parquet(exp.column(k, quoted=True), kind), k, quoted=True) for k, kind in kinds.items()]
    _create_view(connection, _WANTED, exp.select(*back).from_(read))


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, query: exp.Select) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query.sql('duckdb')}")
