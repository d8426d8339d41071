"""The tables of tests/fixtures, in DuckDB and in PostgreSQL."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import duckdb
import pytest

from realtime.project.binder import Binder
from realtime.project.dbt import run_dbt
from tests.emit.warehouses import servers
from tests.postgres import Postgres
from tests.transpile import engines

ROOT = Path(__file__).parents[3]
AUTHORED = ("dbt_project.yml", "profiles", "models", "macros", "data_tests", "realtime/lambdas")
ROWS = """
CREATE SCHEMA chat; CREATE SCHEMA shop;
CREATE TABLE chat.messages AS SELECT
  'stream' || i % 7 || '-' || lpad(i::VARCHAR, 4, '0') AS message_id, 'stream' || i % 7 AS stream_id,
  CASE i % 5 WHEN 0 THEN 'Äda' WHEN 1 THEN 'zoë' WHEN 2 THEN 'Bob' ELSE '😀' || i % 11 END AS sender_id,
  repeat('é', i % 13) || '\\' AS text, TIMESTAMP '2018-05-01' + INTERVAL (i * 17123457) MICROSECOND AS sent_at
FROM range(500) AS t(i);
CREATE TABLE shop.purchases AS SELECT
  lpad(i::VARCHAR, 6, '0') AS purchase_id, lpad((i % 37)::VARCHAR, 5, '0') AS customer_id,
  DATE '1996-12-29' + (i % 90)::INTEGER AS purchased_on, (i % 4)::INTEGER AS items,
  (i * 7919 % 100000 / 100)::DECIMAL(10, 2) AS amount
FROM range(400) AS t(i);
"""


@pytest.fixture(scope="session")
def authored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example project, compiled by dbt, and rows of its sources."""
    folder = tmp_path_factory.mktemp("example")
    for name in AUTHORED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, folder / name)
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(ROWS)
    run_dbt(["compile"], folder, folder / "profiles")
    return folder


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
