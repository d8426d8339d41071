"""A small project with tests of every kind, deployed to the session's server, its rows on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.ingest.export import export
from realtime.planner.ir import Plan
from realtime.project.batch import run_batch
from realtime.settings import Settings
from realtime.testing.run import run_tests
from realtime.testing.verdict import Judged

FILES = Path(__file__).parent / "project"

ORDERS: list[dict[str, object]] = [
    {"order_id": 1, "customer": "Zoë", "amount": "10.50", "status": "paid", "ordered_at": "2024-01-01 10:00:00"},
    {"order_id": 2, "customer": "Zoë", "amount": "1.25", "status": "open", "ordered_at": "2024-01-02 10:00:00"},
    {"order_id": 3, "customer": "日本", "amount": None, "status": "paid", "ordered_at": "2024-01-03 10:00:00"},
    {"order_id": 4, "customer": "日本", "amount": "7.00", "status": "gone", "ordered_at": "1999-12-31 23:59:59"},
    {"order_id": 5, "customer": None, "amount": "0.01", "status": None, "ordered_at": "2024-01-05 10:00:00"},
    {"order_id": 6, "customer": "Zoë", "amount": "99.00", "status": "test", "ordered_at": "2024-01-06 10:00:00"},
]
PEOPLE: list[dict[str, object]] = [
    {"name": "Zoë", "country": "NL", "version": 1},
    {"name": "Zoë", "country": "BE", "version": 2},
    {"name": "日本", "country": "JP", "version": 1},
]


class Shop:
    """The project, and `duet test` on it."""

    def __init__(self, settings: Settings, client: ClickHouse, plan: Plan) -> None:
        self.settings, self.client, self.plan = settings, client, plan
        self.steps: list[tuple[int, int]] = []

    def test(self, *models: str) -> dict[str, Judged]:
        """Records by the test's name."""
        self.steps.clear()
        found = run_tests(self.settings, self.plan, self.client, models, lambda *step: self.steps.append(step))
        return {t.name: t for t in found}

    def temporary(self) -> list[str]:
        """Databases of unit tests that are there now."""
        rows = self.client.rows("SELECT name FROM system.databases WHERE startsWith(name, 'duet_test_')")
        return [row["name"] for row in rows]


def copy_project(folder: Path) -> None:
    """The files of the project."""
    for file in sorted(FILES.rglob("*.*")):
        path = folder / file.relative_to(FILES)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read_bytes())


def insert(client: ClickHouse, table: str, rows: list[dict[str, object]]) -> None:
    """Rows into a landing table."""
    lines = "\n".join(json.dumps(row) for row in rows)
    client.execute(f"INSERT INTO {table} ({', '.join(rows[0])}) FORMAT JSONEachRow\n{lines}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, clickhouse: ClickHouse, endpoint: Endpoint) -> Shop:
    """The project, compiled, deployed, its rows in ClickHouse, the lake and DuckDB."""
    folder = tmp_path_factory.mktemp("shop")
    copy_project(folder)
    settings = Settings.load(folder, {"CLICKHOUSE_URL": f"{endpoint.url}/tested_shop"})
    outcome = compile_project(settings)
    assert not outcome.refusals, [str(r) for r in outcome.refusals]
    deploy(settings, outcome.plan, clickhouse, lambda _: None)
    insert(clickhouse, "tested_shop_raw.shop__orders", ORDERS)
    insert(clickhouse, "tested_shop_raw.shop__people", PEOPLE)
    export(settings, outcome.plan, clickhouse)
    run_batch(settings, outcome.plan, ("run", "--quiet"))
    return Shop(settings, clickhouse, outcome.plan)
