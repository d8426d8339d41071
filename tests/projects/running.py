"""One project the whole way: compile, deploy, rows in random batches, the lake, dbt build, parity."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.ingest.export import export
from realtime.ingest.intake import Intake
from realtime.parity.compare import Compared, parity
from realtime.planner.ir import Plan
from realtime.project.batch import run_batch
from realtime.settings import Settings
from tests.projects.rows.dice import Dice, Rows

PROJECTS = Path(__file__).parent


def settings_for(name: str, folder: Path, endpoint: Endpoint, database: str) -> Settings:
    """A copy of the project in ``folder``, with a database of its own."""
    copy = folder / name
    shutil.copytree(PROJECTS / name, copy, ignore=shutil.ignore_patterns("target", "logs", "lake", "*.duckdb"))
    return Settings.load(copy, {"CLICKHOUSE_URL": f"{endpoint.url}/{database}"})


def run(settings: Settings, endpoint: Endpoint, clickhouse: ClickHouse, rows: Rows, seed: int) -> tuple[Compared, ...]:
    """Every model on both engines after ``rows`` went in through the door, in batches and an order by chance."""
    outcome = compile_project(settings)
    assert not outcome.refusals, "\n".join(map(str, outcome.refusals))
    plan = outcome.plan
    deploy(settings, plan, clickhouse, lambda _: None)
    asyncio.run(_send(endpoint, plan, rows, Dice(seed)))
    export(settings, plan, clickhouse)
    run_batch(settings, plan, ("build", "--quiet"))
    return parity(settings, plan, clickhouse)


async def _send(endpoint: Endpoint, plan: Plan, rows: Rows, dice: Dice) -> None:
    intake = Intake(endpoint, plan)
    try:
        assert set(rows) == {source.name for source in plan.sources}
        for source, given in rows.items():
            for batch in dice.batches(dice.shuffled(given)):
                body = "\n".join(json.dumps(row) for row in batch).encode()
                taken = await intake.take(source, body, content_type="application/x-ndjson")
                assert taken.quarantined_rows == 0, source
    finally:
        await intake.close()
