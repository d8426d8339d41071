"""Both engines, loaded once a session with every variant of the tables."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator

import duckdb
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.project.binder import Binder
from tests.transpile import engines


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The tables in one variant, in both engines."""

    variant: str
    duckdb: duckdb.DuckDBPyConnection
    database: str


@pytest.fixture(scope="session")
def schema() -> Binder:
    """A binder that knows the tables."""
    return engines.schema()


@pytest.fixture(scope="session")
def loaded(clickhouse: ClickHouse) -> Iterator[list[Loaded]]:
    """Every variant of the tables."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    found = [Loaded(v, engines.duckdb_tables(v), f"{prefix}_{v}") for v in engines.VARIANTS]
    for each in found:
        engines.load(each.duckdb, clickhouse, each.database, each.variant)
    yield found
    for each in found:
        clickhouse.execute(f"DROP DATABASE {each.database} SYNC")
        each.duckdb.close()
