"""The whole way of a small dbt project: landing tables to the lake, dbt build over it, parity with real time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.errors import BusyError, CommandError
from realtime.ingest.export import export
from realtime.ingest.intake import Intake
from realtime.ingest.request import Taken
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
    "per_country": """
        select country, count(*) as customers, max(changed_at) as last_at
        from {{ source('shop', 'customers') }} group by country
    """,
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
        ("per_country", 1, 0, ""),
        ("per_customer", 8, 0, ""),
    ]
    clickhouse.execute(f"INSERT INTO {orders} (id, customer, placed_at) VALUES (9999, 'c1', '2020-01-01 00:00:00')")
    [late] = parity(settings, plan, clickhouse, ("per_customer",))
    assert (late.differing, late.reason, late.arrived, late.changed, late.left_out) == (0, "", 1, 1, 0)
    assert "1 rows came since, into 1 of 8 groups" in late.note
    state = plan.steps[-1].states[0].relation
    clickhouse.execute(
        f"INSERT INTO {state} SELECT * REPLACE ('c2' AS customer, toDateTime64('2018-01-01', 6) AS _updated_at) "
        f"FROM {state} AS s WHERE s.customer = 'c3'"
    )
    [wrong] = parity(settings, plan, clickhouse, ("per_customer",))
    assert wrong.differing == 2
    assert {e.row["customer"] for e in wrong.examples} == {"c2"}


CHANGES: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("POST", {"c0": ("FI", 5), "c1": ("SE", 5), "c2": (None, 5), "c3": ("NO", 5), "c4": ("DK", 5)}),
    ("PATCH", {"c0": ("SE", 6), "c1": ("FI", 4), "c2": ("FI", 5), "new": ("IS", 1)}),  # c1 is late, c2 of equal version
    ("DELETE", {"c3": 7, "c4": 4, "never": 3}),  # c4 is late
    ("POST", {"c3": ("SE", 6), "c0": ("NO", 5), "never": ("SE", 2)}),  # all late
    ("PATCH", {"c3": ("FI", 8), "c4": (None, 6), "c2": ("SE", 3)}),  # c3 stays deleted, c2 is late
    ("POST", {"c3": ("FI", 9), "never": ("IS", 4)}),
    ("DELETE", {"c0": 9}),
    ("PATCH", {"c0": ("DK", 8), "new": ("FI", 2)}),  # c0 is late
)


def test_batch_and_real_time_agree_after_updates_deletions_and_late_versions(
    settings: Settings, endpoint: Endpoint, clickhouse: ClickHouse
) -> None:
    plan = compiled(settings)
    deploy(settings, plan, clickhouse, lambda _: None)

    def row(method: str, name: str, given: object) -> dict[str, Any]:
        country, version = given if isinstance(given, tuple) else (None, given)
        key: dict[str, Any] = {"name": name, "changed_at": f"2024-05-01T00:00:00.{version:06}"}
        return key if method == "DELETE" else {**key, "country": country}

    async def send() -> None:
        intake = Intake(endpoint, plan)
        try:
            for method, given in CHANGES:
                body = "\n".join(json.dumps(row(method, name, each)) for name, each in given.items())
                taken = await intake.take("shop.customers", body.encode(), method=method)
                assert taken == Taken(len(given), 0)
                await asyncio.to_thread(export, settings, plan, clickhouse)
        finally:
            await intake.close()

    asyncio.run(send())
    run_batch(settings, plan)
    assert [(c.model, c.differing, c.reason) for c in parity(settings, plan, clickhouse)] == [
        ("countries", 0, ""),
        ("per_country", 0, ""),
        ("per_customer", 0, ""),
    ]
    with duckdb.connect(str(settings.project_dir / "warehouse.duckdb"), read_only=True) as warehouse:
        found = warehouse.execute("select name, country from countries order by name").fetchall()
    wanted = [("c1", "SE"), ("c2", "FI"), ("c3", "FI"), ("c4", None), ("never", "IS"), ("new", "FI")]
    assert found == wanted


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
