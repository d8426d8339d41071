"""Two whole projects on two shards: every model is equal to batch, rows having come through either server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from realtime.clickhouse.client import ClickHouse
from realtime.settings import Settings
from tests.clusters.servers import CLUSTER, Cluster
from tests.projects.rows import shop, subscriptions
from tests.projects.rows.dice import Rows
from tests.projects.running import run, settings_for

SEED = 20240131


def spread(project: Path) -> None:
    """Spreads appended sources by their first column: no model's groups are on one shard."""
    for file in project.rglob("models/**/*.yml"):
        content: dict[str, Any] = yaml.safe_load(file.read_text()) or {}
        for source in content.get("sources", []):
            for table in source["tables"]:
                found = table.get("config", {}).get("meta", {}).get("realtime")
                if isinstance(found, dict) and found.get("mode") != "upsert":
                    found["shard_by"] = table["columns"][0]["name"]
        file.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.timeout(600)  # dbt runs twice
@pytest.mark.parametrize(
    ("name", "rows"),
    [("shop", shop.rows), ("subscriptions", subscriptions.rows)],
    ids=["shop", "subscriptions"],
)
def test_every_model_is_equal(name: str, rows: Callable[[int], Rows], tmp_path: Path, two_shards: Cluster) -> None:
    endpoint = two_shards.endpoints[0]
    database = f"t{uuid.uuid4().hex[:12]}"
    settings = settings_for(name, tmp_path, endpoint, database)
    spread(settings.project_dir)
    settings = Settings.load(settings.project_dir, {"CLICKHOUSE_URL": f"{endpoint.url}/{database}?cluster={CLUSTER}"})
    with ClickHouse(endpoint) as client:
        compared = run(settings, endpoint, client, rows(SEED), SEED)
    assert [str(c) for c in compared if c.differing or c.reason] == []
    assert [c.model for c in compared if not c.rows_batch] == []
