"""What Postgres answers to a statement, and DuckDB to what it becomes: equal, on the same rows."""

from __future__ import annotations

import duckdb
import pytest

from tests.dialects.answers import both
from tests.dialects.cases import cases, schema, tables, translated
from tests.postgres import Postgres
from tests.transpile.cases import Case


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Postgres:
    """Postgres with the tables."""
    postgres.execute("CREATE DATABASE statements;")
    found = Postgres(postgres.folder, database="statements")
    found.execute(tables())
    return found


@pytest.fixture(scope="module")
def batch() -> duckdb.DuckDBPyConnection:
    """DuckDB with the same tables."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(tables())
    return connection


@pytest.mark.parametrize("case", cases("postgres"), ids=str)
def test_postgres_and_duckdb_answer_the_same(case: Case, filled: Postgres, batch: duckdb.DuckDBPyConnection) -> None:
    given, wanted = both(batch, translated(case, schema("postgres")).removesuffix(";"), filled, case.sql)
    assert given == wanted
