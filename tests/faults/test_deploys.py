"""ClickHouse killed within statements of deploys, while rows come in through a server: each row counts once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.apply import deploy
from realtime.deploy.options import Options
from realtime.deploy.promote import stage_views
from realtime.errors import DuetError, UnavailableError
from realtime.planner.ir import Plan
from realtime.project.manifest import Project
from tests.deploy.child import begun
from tests.deploy.conftest import COLUMNS, PER_ROOM, PER_SENDER, project, source
from tests.faults.ground import DATABASE, Ground, ground
from tests.faults.senders import Senders
from tests.server.running import until

ALLOWED = Options(destructive=True, keep_days=0)
# In the order in which a deploy comes to them.
WITHIN = (
    f"INSERT INTO {DATABASE}_raw.chat__messages__next_",
    "EXCHANGE TABLES",
    "MOVE PARTITION",
    "CREATE OR REPLACE VIEW",
    "DROP COLUMN",
)


def changing(version: int) -> Project:
    """Each version has its landing table in another partitioning and another state, every other one a column more."""
    columns = {**COLUMNS, "extra": "varchar"} if version % 2 else COLUMNS
    per_room = PER_ROOM.replace("sum(size) as total", f"sum(size) as total, max(size + {version}) as m")
    of = source(columns, partition_by=f"id % {2 + version % 3}")
    return project({"per_room": per_room, "per_sender": PER_SENDER}, of=of)


class Felling(ClickHouse):
    """A client that has ClickHouse killed within the first statement that holds ``mark``."""

    def __init__(self, endpoint: Endpoint, mark: str, fell: Callable[[], None]) -> None:
        super().__init__(endpoint)
        self._mark = mark
        self._fell = fell

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        if self._mark and self._mark in sql:
            mark, self._mark = self._mark, ""
            running = begun(self, mark, lambda: ClickHouse.execute(self, sql, parameters, settings))
            self._fell()
            running.join()
            raise UnavailableError("ClickHouse was killed")
        super().execute(sql, parameters, settings)


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Ground]:
    with ground(tmp_path, version_of=changing) as found:
        yield found


def killed(on: Ground, mark: str) -> Plan:
    """Deploys the next version, and kills ClickHouse within the first statement that holds ``mark``."""
    on.version += 1
    plan = on.site.compile(changing(on.version))
    with Felling(on.endpoint, mark, on.kill_clickhouse) as felling, pytest.raises(DuetError):
        deploy(on.site.settings, plan, felling, on.site.said.append, ALLOWED, stage_views)
    return plan


def test_clickhouse_is_killed_within_a_deploy(on: Ground) -> None:
    with Senders(on, 4).running() as senders:
        for mark in WITHIN:
            plan = killed(on, mark)
        deploy(on.site.settings, plan, on.site.client, on.site.said.append, ALLOWED, stage_views)
        assert on.site.changes(plan) == ()
        assert on.site.names("_raw") == ["chat__messages", "chat__messages__quarantine"]
        assert not [name for name in on.site.names("_state") if "__backfill" in name]
    until(on.is_whole, 30)
    on.verify(senders.acknowledged, senders.sent)
    assert senders.acknowledged


def test_clickhouse_is_killed_where_tables_are_exchanged_and_nobody_deploys_again(on: Ground) -> None:
    """The table knows no tokens of the rows that were copied, nor do views whose query was changed before."""
    with Senders(on, 4).running() as senders:
        until(lambda: len(senders.acknowledged) > 200)
        killed(on, "EXCHANGE TABLES")
        acknowledged = len(senders.acknowledged)
        until(lambda: len(senders.acknowledged) > acknowledged + 200, 30)
    on.version -= 1  # which is active
    until(on.is_whole, 30)
    on.verify(senders.acknowledged, senders.sent)
