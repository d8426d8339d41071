"""ClickHouse's clock is set back. That of the tests' machine can't be: what was before lies an hour ahead."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import micros, server_now
from realtime.deploy.cutover import _make
from realtime.deploy.diff import states_of
from realtime.deploy.promote import settle, stage_views
from realtime.emit.landing import keep_after
from realtime.ingest.landed import stamp
from realtime.ingest.writer import TROUBLE_CODES
from realtime.settings import Settings
from tests.deploy.conftest import (
    MODELS,
    PER_ROOM,
    PER_SENDER,
    RENAMED,
    Load,
    Site,
    batch_per_room,
    fill,
    message,
    project,
    source,
)

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


def insert_ahead(site: Site, first: int, count: int) -> None:
    """Inserts messages as if the clock had shown an hour more."""
    moment = server_now(site.client) + timedelta(seconds=HOUR)
    rows = b"\n".join(stamp(msgspec.json.encode(message(i)), moment) for i in range(first, first + count))
    columns = ", ".join((*message(0), "_ingested_at"))
    site.client.execute(
        f"INSERT INTO {site.database}_raw.chat__messages ({columns}) FORMAT JSONEachRow\n{rows.decode()}"
    )


def test_rows_from_before_the_clock_was_set_back_are_backfilled(site: Site) -> None:
    models = {"per_room": PER_ROOM}
    fill(site, site.compile(project(models)))
    site.insert(0, 10)
    insert_ahead(site, 10, 10)
    models["renamed"] = RENAMED["per_room"]
    fill(site, site.compile(project(models)))
    site.insert(20, 10)
    models["per_sender"] = PER_SENDER
    plan = site.compile(project(models))
    fill(site, plan)
    site.insert(30, 10)
    settle(site.client, plan)
    assert site.per_room() == batch_per_room(40)
    assert site.rows("SELECT room, n, total FROM {db}.renamed ORDER BY room") == batch_per_room(40)
    assert site.rows("SELECT sum(messages) FROM {db}.per_sender") == [(40,)]


def test_a_table_is_made_anew_after_the_clock_was_set_back(site: Site) -> None:
    site.deploy(project(MODELS), build=stage_views)
    site.insert(0, 10)
    insert_ahead(site, 10, 10)
    with Load(site, first=20, pause=0.01) as load:
        plan = site.deploy(project(MODELS, of=source(partition_by="id % 3")), build=stage_views)
    assert not [e for e in load.errors if not any(f"Code: {code}." in e for code in TROUBLE_CODES)]
    assert site.per_room() == batch_per_room(load.inserted)
    landing = plan.sources[0].landing
    assert site.rows(f"SELECT count(), uniqExact(id) FROM {landing}") == [(load.inserted, load.inserted)]
    insert_ahead(site, load.inserted, 1)
    site.insert(load.inserted + 1, 1)
    assert site.per_room() == batch_per_room(load.inserted + 2)
