"""The tables of tests/fixtures, in DuckDB and in PostgreSQL."""

from __future__ import annotations

import dataclasses

import duckdb
import pytest

from realtime.project.binder import Binder
from tests.emit.warehouses import servers
from tests.postgres import Postgres
from tests.transpile import engines


@dataclasses.dataclass(frozen=True)
class Both:
    """The same rows in both."""

    duckdb: duckdb.DuckDBPyConnection
    postgres: Postgres
    schema: str


@pytest.fixture(scope="session")
def binder() -> Binder:
    """A binder that knows the tables."""
    return engines.schema()


@pytest.fixture(scope="session")
def both(postgres: Postgres) -> list[Both]:
    """The tables with all their rows, and empty."""
    found = [Both(engines.duckdb_tables(variant), postgres, f"fixtures_{variant}") for variant in ("rows", "empty")]
    for each in found:
        # A numeric of 38 digits raises for what has 39.
        each.duckdb.execute("UPDATE edge SET h = h // 10 WHERE id IN (1, 2)")
        servers.load(each.duckdb, postgres, each.schema)
    return found
