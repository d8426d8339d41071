"""ClickHouse's clock is set back, or forward, before a deploy and in the middle of it. That of the tests' machine can't
be: what was before lies an hour ahead, or ClickHouse is asked for another time than it has."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
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
from tests.faults.clocked import Clocked

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


MINUTES = 300
VIEW, FLOOR, CUT = "CREATE MATERIALIZED VIEW", "MODIFY COLUMN _ingested_at", "'cut'"
# Before which statements of a cut-over the clock is set, and by how much it is ahead then.
JUMPS = {
    "forward before the views": ((VIEW, MINUTES),),
    "back before the views": ((VIEW, -MINUTES),),
    "forward and back around the views": ((VIEW, MINUTES), (FLOOR, 0)),
    "forward before the floor": ((FLOOR, MINUTES),),
    "back before the floor": ((FLOOR, -MINUTES),),
    "forward while inserts are waited for": (("system.processes", MINUTES),),
    "back and forward after the views": ((CUT, -MINUTES), ("'complete'", MINUTES)),
}


@pytest.fixture
def clocked(endpoint: Endpoint, site: Site) -> Iterator[Clocked]:
    """The site's client is it from now on."""
    site.client = clocked = Clocked(endpoint, site.database)
    yield clocked
    for suffix in ("", "_state", "_raw", "_duet"):  # they read the clock, which goes last
        clocked.execute(f"DROP DATABASE IF EXISTS {site.database}{suffix} SYNC")
    clocked.close()


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS)
def test_the_clock_is_set_within_a_cut_over(site: Site, clocked: Clocked, jumps: tuple[tuple[str, int], ...]) -> None:
    """Rows come before and after it is set, and an insert runs on for a while."""
    fill(site, site.compile(project({"per_room": PER_ROOM})))
    site.insert(0, 10)
    count, running = 10, list[threading.Thread]()

    def run_on() -> None:
        columns, (row,) = ", ".join(message(0)), (tuple(message(0).values()),)
        slow = f"SELECT * FROM (SELECT {', '.join(map(repr, row))}) WHERE NOT sleepEachRow(0.4)"
        with ClickHouse(clocked.endpoint) as client:
            client.execute(f"INSERT INTO {site.database}_raw.chat__messages ({columns}) {slow}")

    def jump(seconds: int) -> None:
        nonlocal count
        if len(jumps) == 1:  # else it would be over when the clock is set again
            running.append(threading.Thread(target=run_on))
            running[-1].start()
            while not site.rows("SELECT 1 FROM system.processes WHERE query LIKE 'INSERT INTO {db}_raw%sleepEachRow%'"):
                pass
        site.insert(count, 3)
        clocked.set(seconds)
        site.insert(count + 3, 3)
        count += 6

    clocked.events = [(mark, functools.partial(jump, seconds)) for mark, seconds in jumps]
    plan = site.compile(project({"per_room": PER_ROOM, "renamed": RENAMED["per_room"]}))
    fill(site, plan)
    assert not clocked.events
    site.insert(count, 3)
    for thread in running:
        thread.join()
    settle(site.client, plan)
    landing = f"{site.database}_raw.chat__messages"
    wanted = site.rows(f"SELECT room, count() AS n, sum(size) FROM {landing} GROUP BY room ORDER BY room")
    assert sum(n for _, n, _ in wanted) == count + 3 + len(running)
    assert site.per_room() == wanted
    assert site.rows("SELECT room, n, total FROM {db}.renamed ORDER BY room") == wanted


def test_what_was_deployed_last_counts_after_the_clock_was_set_back(site: Site, clocked: Clocked) -> None:
    clocked.set(MINUTES)
    site.deploy(project(MODELS), build=stage_views)
    site.insert(0, 10)
    clocked.events = [(CUT, lambda: clocked.set(0))]
    site.deploy(project(RENAMED), build=stage_views)  # which has nothing left to do
    assert not clocked.events
    site.insert(10, 10)
    assert site.rows("SELECT room, n, total FROM {db}.per_room ORDER BY room") == batch_per_room(20)
    site.deploy(project(MODELS), build=stage_views)
    assert site.per_room() == batch_per_room(20)
