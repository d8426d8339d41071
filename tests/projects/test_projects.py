"""Three projects in the manner of public ones: every model compiles, and is equal on both engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from tests.projects.rows import sessions, shop, subscriptions
from tests.projects.rows.dice import Rows
from tests.projects.running import run, settings_for

SEED = 20240129


@pytest.mark.timeout(600)  # dbt runs three times in each
@pytest.mark.parametrize(
    ("name", "rows", "models"),
    [("shop", shop.rows, 28), ("subscriptions", subscriptions.rows, 22), ("sessions", sessions.rows, 27)],
    ids=["shop", "subscriptions", "sessions"],
)
def test_every_model_is_equal(
    name: str,
    rows: Callable[[int], Rows],
    models: int,
    tmp_path: Path,
    endpoint: Endpoint,
    clickhouse: ClickHouse,
    database: str,
) -> None:
    settings = settings_for(name, tmp_path, endpoint, database)
    compared = run(settings, endpoint, clickhouse, rows(SEED), SEED)
    assert [str(c) for c in compared if c.differing or c.reason] == []
    assert [c.model for c in compared if not c.rows_batch] == []
    assert len(compared) == models
