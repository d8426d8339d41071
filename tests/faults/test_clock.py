"""ClickHouse's clock is set back. That of the tests' machine can't be, so the cut-over lies an hour ahead instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import micros, server_now
from realtime.deploy.cutover import _make
from realtime.deploy.diff import states_of
from realtime.deploy.promote import settle
from realtime.emit.landing import keep_after
from realtime.settings import Settings
from tests.deploy.conftest import PER_ROOM, Site, batch_per_room, fill, project

HOUR = 3600.0


@pytest.fixture
def site(tmp_path: Path, clickhouse: ClickHouse, database: str) -> Site:
    return Site(Settings.load(tmp_path, {}), clickhouse, database)


def test_rows_that_come_after_a_cut_over_belong_to_its_side(site: Site) -> None:
    plan = site.compile(project({"per_room": PER_ROOM}))
    fill(site, plan)
    settle(site.client, plan)
    landing = f"{site.database}_raw.chat__messages"
    default = "SELECT default_expression FROM system.columns WHERE concat(database, '.', table) = {landing:String}"
    expression = site.client.value(f"{default} AND name = '_ingested_at'", {"landing": landing})
    assert "greatest" in expression  # as every cut-over leaves it
    cut = _make(site.client, list(states_of(plan).values()), HOUR)
    site.insert(0, 10)
    assert site.per_room() == []
    site.client.execute(f"TRUNCATE TABLE {landing} SYNC")
    site.client.execute(keep_after(landing, micros(cut)))
    site.insert(0, 10)
    assert site.per_room() == batch_per_room(10)
    ((least, most),) = site.rows(f"SELECT min(_ingested_at), max(_ingested_at) FROM {landing}")
    assert micros(least) == micros(most) == micros(cut) > micros(server_now(site.client)) + 50 * 60_000_000
