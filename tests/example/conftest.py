"""The example project over a slice of its real data, deployed once, with its batch database and a server."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.ingest.export import export
from realtime.planner.ir import Plan
from realtime.project.batch import run_batch
from realtime.settings import Settings
from tests.server.running import Running, running

ROOT = Path(__file__).parents[2]
SLICE = {"chat.messages": 12_000, "shop.purchases": 6_000}
"""How many rows of each source, its oldest ones."""
DATABASE = "example"


@dataclasses.dataclass(frozen=True)
class Example:
    """The same ``rows`` by source in ClickHouse, behind ``server``, and in DuckDB."""

    settings: Settings
    plan: Plan
    server: Running
    rows: Mapping[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def example(endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """The rows went in through the server, and to DuckDB through the lake."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copy(ROOT / "dbt_project.yml", folder)
    for name in ("models", "macros", "profiles", "data_tests", "realtime/lambdas"):
        shutil.copytree(ROOT / name, folder / name)
    settings = Settings.load(folder, {"CLICKHOUSE_URL": f"{endpoint.url}/{DATABASE}"})
    outcome = compile_project(settings)
    assert not outcome.refusals, "\n".join(map(str, outcome.refusals))
    deploy(settings, outcome.plan, clickhouse, lambda _: None)
    rows = _slice()
    with running(endpoint, DATABASE, folder) as server:
        for source, given in rows.items():
            answer = server.ask(f"/v1/events/{source}", given)
            assert answer.json == {"successful_rows": len(given), "quarantined_rows": 0}
        export(settings, outcome.plan, clickhouse)
        run_batch(settings, outcome.plan, ("run", "--quiet"))
        yield Example(settings, outcome.plan, server, rows)
    for row in clickhouse.rows(f"SELECT name FROM system.databases WHERE startsWith(name, '{DATABASE}')"):
        clickhouse.execute(f"DROP DATABASE `{row['name']}` SYNC")


def _slice() -> dict[str, list[dict[str, Any]]]:
    subprocess.run([sys.executable, str(ROOT / "data" / "prepare.py")], check=True)  # nothing to do where it was done
    found = {}
    for source, count in SLICE.items():
        with (ROOT / "data" / f"{source}.ndjson").open(encoding="utf-8") as lines:
            found[source] = [json.loads(line) for line in itertools.islice(lines, count)]
    return found
