"""The whole way of a small dbt project: landing tables to the lake, dbt build over it, parity with real time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.errors import BusyError, CommandError
from realtime.ingest.export import export
from realtime.parity.compare import parity
from realtime.planner.ir import Plan
from realtime.project.batch import run_batch
from realtime.settings import Settings
from tests.landing import PROFILES, PROJECT, plan_of, source

SOURCES = """
sources:
  - name: shop
    tables:
      - name: orders
        config: {meta: {realtime: {event_time: placed_at}}}
        columns:
          - {name: id, data_type: bigint, data_tests: [not_null]}
          - {name: customer, data_type: varchar}
          - {name: placed_at, data_type: timestamp, data_tests: [not_null]}
          - {name: amount, data_type: 'decimal(10,2)'}
          - {name: weight, data_type: double}
      - name: customers
        config: {meta: {realtime: {mode: upsert, key: name, version: changed_at, deleted: gone}}}
        columns:
          - {name: name, data_type: varchar}
          - {name: country, data_type: varchar}
          - {name: changed_at, data_type: timestamp}
          - {name: gone, data_type: boolean}
"""
MODELS = {
    "per_customer": """
        select customer, count(*) as orders, sum(amount) as total, avg(weight) as weight, max(placed_at) as last_at
        from {{ source('shop', 'orders') }} group by customer
    """,
    "countries": "select name, country from {{ source('shop', 'customers') }}",
}


@pytest.fixture
def settings(tmp_path: Path, endpoint: Endpoint, database: str) -> Settings:
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text(PROJECT)
    (tmp_path / "profiles.yml").write_text(PROFILES)
    (tmp_path / "models" / "sources.yml").write_text(SOURCES)
    listed = "".join(f"  - name: {name}\n    config: {{meta: {{realtime: true}}}}\n" for name in MODELS)
    (tmp_path / "models" / "models.yml").write_text(f"models:\n{listed}")
    for name, sql in MODELS.items():
        (tmp_path / "models" / f"{name}.sql").write_text(sql)
    return Settings.load(tmp_path, {"CLICKHOUSE_URL": f"{endpoint.url}/{database}"})


def compiled(settings: Settings) -> Plan:
    outcome = compile_project(settings)
    assert outcome.refusals == ()
    return outcome.plan


def test_batch_and_real_time_agree(
    settings: Settings, clickhouse: ClickHouse, database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = compiled(settings)
    deploy(settings, plan, clickhouse, lambda _: None)
    assert {c.reason for c in parity(settings, plan, clickhouse)} == {"batch relation is missing: run duet batch"}
    orders, customers = f"{database}_raw.shop__orders", f"{database}_raw.shop__customers"
    for day in range(3):
        clickhouse.execute(
            f"INSERT INTO {orders} (id, customer, placed_at, amount, weight) SELECT {day} * 500 + number, "
            "if(number % 11 = 0, NULL, concat('c', toString(number % 7))), "
            f"toDateTime64('2018-11-0{day + 1} 00:00:00.000001', 6, 'UTC') + number, "
            "if(number % 5 = 0, NULL, number / 7), number * 0.1 FROM numbers(500)"
        )
        clickhouse.execute(
            f"INSERT INTO {customers} (name, country, changed_at, gone) SELECT concat('c', toString(number)), "
            f"if({day} = 2, 'FI', 'SE'), toDateTime64('2018-11-0{3 - day} 00:00:00', 6, 'UTC'), number = {day} "
            "FROM numbers(7)"
        )
        export(settings, plan, clickhouse)
    run_batch(settings, plan)
    found = parity(settings, plan, clickhouse)
    assert "Completed successfully" in capfd.readouterr().out
    assert [(c.model, c.rows_batch, c.differing, c.reason) for c in found] == [
        ("countries", 6, 0, ""),
        ("per_customer", 8, 0, ""),
    ]
    clickhouse.execute(f"INSERT INTO {orders} (id, customer, placed_at) VALUES (9999, 'c1', '2020-01-01 00:00:00')")
    [late] = parity(settings, plan, clickhouse, ("per_customer",))
    assert (late.differing, [e.differs for e in late.examples]) == (2, [("orders", "last_at")] * 2)
    assert late.reason == "1 row of shop.orders arrived since the last export: run duet export and duet batch"


def test_a_database_that_is_open_elsewhere_and_a_failing_model(settings: Settings, database: str) -> None:
    columns = {"id": "BIGINT", "customer": "VARCHAR", "placed_at": "TIMESTAMP", "amount": "DECIMAL(10,2)"}
    plan = plan_of(database, source(database, {**columns, "weight": "DOUBLE"}))
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(settings.project_dir / "warehouse.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=r"warehouse.duckdb is open in another program[\s\S]*close that program"):
            run_batch(settings, plan)
        holder.communicate()
    (settings.project_dir / "models" / "countries.sql").write_text("select nope")
    with pytest.raises(CommandError, match="dbt build failed"):
        run_batch(settings, plan)
    run_batch(settings, plan, ("build", "--select", "per_customer"))
