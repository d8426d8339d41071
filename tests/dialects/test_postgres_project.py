"""A project that is written for Postgres, end to end: dbt-postgres runs it in batch on a real Postgres, Duet keeps it
in ClickHouse, the tables are equal, and `duet test` says the same on both sides."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.planner.ir import Plan, Step
from realtime.project.dbt import run_dbt
from realtime.settings import Settings
from realtime.testing.run import run_tests
from realtime.transpile.types import duck_type
from tests.dialects.answers import comparable
from tests.postgres import Postgres
from tests.testing.conftest import insert

ORDERS: list[dict[str, Any]] = [
    {
        "id": i,
        "customer": "abc"[i % 3],
        "status": [None, "PAID", "Open", "test", "pAId"][i % 5],
        "amount": None if i % 7 == 0 else f"{i * 37 % 1000 / 100 - 3:.2f}",
        "quantity": None if i % 11 == 0 else i % 4 * (-1) ** i,
        "ordered_at": f"2024-{1 + i % 12:02}-28 23:59:{i:02}.999999",
    }
    for i in range(1, 40)
]
PASS, FAIL, NONE = "pass", "fail", "not applicable"
SIDES = {
    # data tests: batch, real time; unit tests: batch, the compiled SELECT, through materialized views
    "accepted_values_stg_orders_status__paid__open": (PASS, PASS, NONE),
    "not_null_stg_orders_order_id": (PASS, PASS, NONE),
    "not_null_totals_customer": (PASS, PASS, NONE),
    "source_not_null_app_orders_id": (PASS, PASS, NONE),
    "source_unique_app_orders_id": (PASS, PASS, NONE),
    "unique_stg_orders_order_id": (PASS, PASS, NONE),
    "unique_totals_customer": (PASS, PASS, NONE),
    "halves_and_days": (PASS, PASS, PASS),
    "totals_of_a_customer": (PASS, PASS, PASS),
    "wrong_on_purpose": (FAIL, FAIL, FAIL),
}


@pytest.fixture(scope="module")
def warehouse(postgres: Postgres) -> Postgres:
    """A database of Postgres with the source's rows."""
    postgres.execute("CREATE DATABASE till;")
    found = Postgres(postgres.folder, database="till")
    found.execute(
        "CREATE SCHEMA app; CREATE TABLE app.orders (id bigint, customer text, status varchar(20), "
        "amount numeric(10, 2), quantity integer, ordered_at timestamp);"
    )
    rows = json.dumps(ORDERS)
    found.execute(f"INSERT INTO app.orders SELECT * FROM json_populate_recordset(NULL::app.orders, '{rows}');")
    return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, warehouse: Postgres, endpoint: Endpoint) -> Iterator[Settings]:
    """Those of a copy of the project; dbt finds the server by the environment."""
    folder = tmp_path_factory.mktemp("till") / "project"
    shutil.copytree(Path(__file__).parent / "postgres_project", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILL_POSTGRES", str(warehouse.folder))
        yield Settings.load(folder, {"CLICKHOUSE_URL": f"{endpoint.url}/authored_till"})


@pytest.fixture(scope="module")
def plan(settings: Settings, clickhouse: ClickHouse) -> Plan:
    """The plan, deployed, and the rows on both sides."""
    outcome = compile_project(settings)
    assert not outcome.refusals, [str(r) for r in outcome.refusals]
    deploy(settings, outcome.plan, clickhouse, lambda _: None)
    insert(clickhouse, "authored_till_raw.app__orders", ORDERS)
    run_dbt(["run"], settings.project_dir, settings.project_dir)
    return outcome.plan


def test_clickhouse_has_what_postgres_has(plan: Plan, clickhouse: ClickHouse, warehouse: Postgres) -> None:
    assert [step.model for step in plan.steps] == ["stg_orders", "totals"]
    for step in plan.steps:
        batch = _counted(step, warehouse.rows(f"SELECT * FROM analytics.{step.model}"))
        assert batch
        assert _counted(step, clickhouse.rows(f"SELECT * FROM {step.relation}")) == batch, step.model


def _counted(step: Step, rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    kinds = {column.name: duck_type(column.type) for column in step.columns}
    return Counter(tuple(comparable(row[name], kind) for name, kind in kinds.items()) for row in rows)


def test_every_test_on_every_side(settings: Settings, plan: Plan, clickhouse: ClickHouse) -> None:
    found = run_tests(settings, plan, clickhouse, (), lambda done, total: None)
    sides = {t.name: (str(t.batch.status), str(t.realtime.status), str(t.views.status)) for t in found}
    assert sides == SIDES
    assert [t.disagreement for t in found if t.disagreement] == []
