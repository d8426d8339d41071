"""What Postgres answers to a statement, and DuckDB to what it becomes: equal, on the same rows."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from realtime.transpile.types import DuckType, Kind, duck_type
from tests.dialects.cases import cases, schema, tables, translated
from tests.postgres import Postgres
from tests.transpile.cases import Case


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Postgres:
    """Postgres with the tables."""
    postgres.execute(tables())
    return postgres


@pytest.fixture(scope="module")
def batch() -> duckdb.DuckDBPyConnection:
    """DuckDB with the same tables."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(tables())
    return connection


@pytest.mark.parametrize("case", cases("postgres"), ids=str)
def test_postgres_and_duckdb_answer_the_same(case: Case, filled: Postgres, batch: duckdb.DuckDBPyConnection) -> None:
    relation = batch.sql(translated(case, schema("postgres")).removesuffix(";"))
    kinds = [duck_type(str(t)) for t in relation.types]
    found = [[_duckdb(v, k) for v, k in zip(row, kinds, strict=True)] for row in relation.fetchall()]
    rows = filled.rows(case.sql)
    assert all(list(row) == relation.columns for row in rows)
    wanted = [[_postgres(v, k) for v, k in zip(row.values(), kinds, strict=True)] for row in rows]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


def _duckdb(value: Any, kind: DuckType) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    return _value(value, kind)


def _postgres(value: Any, kind: DuckType) -> Any:
    if value is not None and kind.kind is Kind.TIMESTAMP:
        return datetime.datetime.fromisoformat(value).isoformat(timespec="microseconds")
    return _value(value, kind)


def _value(value: Any, kind: DuckType) -> Any:
    """Numbers by their value: whatever has digits that the type has not would differ."""
    if value is None or isinstance(value, bool):
        return value
    if kind.kind in (Kind.INTEGER, Kind.DECIMAL):
        return Decimal(value).normalize() + 0
    if kind.kind is Kind.FLOAT:
        return "nan" if math.isnan(float(value)) else float(f"{float(value):.12g}") + 0.0
    return str(value)
