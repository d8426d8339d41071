"""Both engines over the same rows, and answers in one form that can be compared."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
import struct
from collections.abc import Sequence
from typing import Any

import duckdb

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import Column
from realtime.project.binder import Binder
from realtime.transpile.form import quote
from realtime.transpile.types import DuckType, Kind, duck_type
from tests.transpile.cases import FIXTURES

VARIANTS = ("rows", "known", "empty")
"""``rows``: every row, columns that may be NULL. ``known``: the rows without NULL, in columns that can't be NULL.
``empty``: no rows, in columns that can't be NULL."""
_JSON = {
    # What ClickHouse compiles is compiled at once, not when it runs the fourth time.
    "min_count_to_compile_aggregate_expression": 0,
    "output_format_json_quote_64bit_integers": 1,
    "output_format_json_quote_decimals": 1,
    "output_format_json_quote_denormals": 1,
}
Row = tuple[Any, ...]


def schema() -> Binder:
    """A binder that knows the tables of tests/fixtures/tables.sql."""
    binder = Binder()
    binder.execute((FIXTURES / "tables.sql").read_text())
    return binder


def duckdb_tables(variant: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB that holds the tables with the rows of ``variant``."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute((FIXTURES / "tables.sql").read_text())
    if variant != "empty":
        connection.execute((FIXTURES / "rows.sql").read_text())
    if variant == "known":
        for name, columns in _tables(connection).items():
            known = " AND ".join(f'"{c}" IS NOT NULL' for c, _ in columns)
            connection.execute(f'DELETE FROM "{name}" WHERE NOT ({known})')
    return connection


def load(connection: duckdb.DuckDBPyConnection, clickhouse: ClickHouse, database: str, variant: str) -> None:
    """The same tables and rows in ``database`` of ClickHouse, which is created."""
    clickhouse.execute(f"CREATE DATABASE {database}")
    for name, columns in _tables(connection).items():
        shown = ", ".join(f"{_quoted(c)} {t.clickhouse if variant == 'rows' else t.base}" for c, t in columns)
        clickhouse.execute(f"CREATE TABLE {database}.{name} ({shown}) ENGINE = MergeTree ORDER BY tuple()")
        fields = ", ".join(_text(c, t) for c, t in columns)
        rows = [json.dumps(r, default=str) for r in connection.execute(f'SELECT {fields} FROM "{name}"').fetchall()]
        if rows:
            clickhouse.execute(f"INSERT INTO {database}.{name} FORMAT JSONCompactEachRow " + "\n".join(rows))


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, DuckType]]]:
    tables: dict[str, list[tuple[str, DuckType]]] = {}
    query = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
    for table, column, kind in connection.execute(query).fetchall():
        tables.setdefault(table, []).append((column, duck_type(kind)))
    return tables


def _text(column: str, kind: DuckType) -> str:
    """A column in the text that ClickHouse reads."""
    name = f'"{column}"'
    if kind.kind in (Kind.LIST, Kind.ARRAY, Kind.STRUCT) or kind.name in ("INTEGER", "BOOLEAN"):
        return name
    if kind.kind is Kind.TIMESTAMPTZ:
        name = f"{name}::TIMESTAMP"
    return f"{name}::VARCHAR"


def _quoted(name: str) -> str:
    return quote(name).sql("clickhouse")


def ask_duckdb(
    connection: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any], columns: Sequence[Column]
) -> list[Row]:
    """Rows of ``sql`` in canonical form."""
    kinds = [duck_type(c.type) for c in columns]
    rows = connection.execute(sql, params).fetchall()
    return [tuple(canonical(v, k) for v, k in zip(row, kinds, strict=True)) for row in rows]


def ask_clickhouse(clickhouse: ClickHouse, sql: str, params: dict[str, Any], columns: Sequence[Column]) -> list[Row]:
    """Rows of ``sql`` in canonical form; AssertionError where a column's name or type is not what was promised."""
    answer = clickhouse.bytes(f"{sql}\nFORMAT JSONCompactEachRowWithNamesAndTypes", params, _JSON)
    names, types, *rows = [json.loads(line) for line in answer.decode().splitlines()]
    assert names == [c.name for c in columns]
    assert [_bare(t) for t in types] == [_bare(c.clickhouse) for c in columns], f"types {types}"
    kinds = [duck_type(c.type) for c in columns]
    return [tuple(canonical(v, k) for v, k in zip(row, kinds, strict=True)) for row in rows]


def _bare(clickhouse_type: str) -> str:
    """The type without Nullable, which follows from the tables, and without the quotes that a field's name may need."""
    return re.sub(r"Nullable\(((?:[^()]|\([^()]*\))*)\)", r"\1", clickhouse_type.replace("`", ""))


def canonical(value: Any, kind: DuckType) -> Any:
    """A value as either engine gives it, in a form that is equal exactly when the values are."""
    if value is None:
        return None
    if kind.kind in (Kind.LIST, Kind.ARRAY):
        return [canonical(v, kind.item) for v in value]
    if kind.kind is Kind.STRUCT:
        return {name: canonical(value[name], inner) for name, inner in kind.fields}
    if kind.kind is Kind.MAP:
        return {str(k): canonical(v, kind.item) for k, v in dict(value).items()}
    return _SCALARS.get(kind.kind, str)(value) if kind.name != "FLOAT" else _single(value)


def _single(value: Any) -> float:
    number = float(value)
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


def _moment(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    shown, _, fraction = str(value).partition(".")
    return f"{shown}.{fraction:0<6}"


def _time(value: Any) -> str:
    shown, _, fraction = str(value).partition(".")
    return f"{shown}.{fraction:0<6}"


_SCALARS: dict[Kind, Any] = {
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.DECIMAL: decimal.Decimal,
    Kind.BOOLEAN: bool,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _moment,
    Kind.TIMESTAMPTZ: _moment,
}


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two canonical values are equal; floats within a relative ``tolerance``, NaN equal to NaN."""
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key], tolerance) for key in a)
    return type(a) is type(b) and bool(a == b)


def in_any_order(rows: list[Row], *, exact: bool) -> list[Row]:
    """Rows sorted so that those of the other engine come in the same order; unless ``exact``, floats by their first
    nine digits only."""
    return sorted(rows, key=lambda row: (repr([_rank(v) for v in row]), repr(row) if exact else ""))


def _rank(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return str(value.normalize() + 0)
    return f"{value + 0.0:.9g}" if isinstance(value, float) else value
