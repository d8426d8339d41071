"""Filling new states under inserts: every row counts once, whatever is repeated."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from datetime import datetime

import msgspec
import pytest

from realtime.clickhouse.moment import server_now
from realtime.deploy.backfill import BACKFILL, backfill, chunk_tables, insert_chunk
from realtime.deploy.cutover import cut_over
from realtime.deploy.diff import states_of
from realtime.deploy.ledger import Ledger, Work
from realtime.deploy.live import read_live
from realtime.emit.landing import landing_ddl
from realtime.planner.ir import Plan, State
from tests.deploy.conftest import Site, batch_per_room, project

TWO_BRANCHES = """
with everything as (
    select room, size from memory.chat.messages
    union all
    select sender as room, size from memory.chat.messages where size > 4
)
select room, count(*) as messages, sum(size) as total from everything group by room
"""
LATEST = """
select * from (
    select room, sender, size, id, row_number() over (partition by room order by id desc) as place
    from memory.chat.messages
) where place = 1
"""


@pytest.fixture
def work(site: Site) -> Work:
    """What a deploy's parts share, over an empty ledger."""
    for suffix in ("_raw", "_state"):
        site.client.execute(f"CREATE DATABASE {site.database}{suffix}")
    ledger = Ledger(site.client, site.database)
    ledger.create()
    return Work(site.client, ledger, site.said.append, lambda: None, "test")


def planned(site: Site, **models: str) -> Plan:
    """A plan whose landing tables are there."""
    plan = site.compile(project(models))
    for statement in landing_ddl(plan.sources[0]):
        site.client.execute(statement)
    return plan


def only_state(plan: Plan) -> State:
    (state,) = states_of(plan).values()
    return state


def counted(site: Site, state: State) -> list[tuple[object, ...]]:
    """Rooms, messages and total in a state of ``per_room``'s columns."""
    return site.rows(
        f"SELECT room, countMerge(messages), sumMerge(total) FROM {state.relation} GROUP BY room ORDER BY room"
    )


def test_rows_on_both_sides_of_the_cut_over_count_once(site: Site, work: Work) -> None:
    plan = planned(site, per_room=TWO_BRANCHES, newest=LATEST)
    site.insert(0, 500)
    stop = threading.Event()
    last = 500

    def keep_inserting() -> None:
        nonlocal last
        while not stop.is_set():
            site.insert(last, 3, token=str(last))
            last += 3

    writers = [threading.Thread(target=keep_inserting)]
    for writer in writers:
        writer.start()
    states = list(states_of(plan).values())
    cuts = cut_over(work, states, read_live(site.client, site.database))
    for state in states:
        backfill(work, state, cuts[state.relation], chunk_rows=100)
    time.sleep(0.1)
    stop.set()
    for writer in writers:
        writer.join()
    landing = f"{site.database}_raw.chat__messages"
    wanted = (
        f"SELECT room, count() AS n, sum(size) FROM (SELECT room, size FROM {landing} UNION ALL "
        f"SELECT sender, size FROM {landing} WHERE size > 4) GROUP BY room ORDER BY room"
    )
    per_room, newest = sorted(states, key=lambda s: s.latest)
    assert counted(site, per_room) == site.rows(wanted)
    rows = site.rows(
        f"SELECT room, tupleElement(argMaxMerge(_row), 3) FROM {newest.relation} GROUP BY room ORDER BY room"
    )
    assert rows == site.rows(f"SELECT room, max(id) FROM {landing} GROUP BY room ORDER BY room")
    assert work.ledger.complete() == {s.relation for s in states}
    assert not [name for name in site.names("_state") if BACKFILL in name]


def parted(site: Site, work: Work) -> tuple[State, datetime]:
    """A state of several partitions that has cut over, and its 300 rows from before in three chunks' time."""
    plan = planned(
        site, per_room="select room, count(*) as messages, sum(size) as total from memory.chat.messages group by 1"
    )
    for first in range(0, 300, 100):
        site.insert(first, 100)
        time.sleep(0.11)
    state = msgspec.structs.replace(only_state(plan), partition_by="sipHash64(room) % 5")
    return state, cut_over(work, [state], read_live(site.client, site.database))[state.relation]


def test_a_chunk_that_is_begun_again_counts_once(site: Site, work: Work) -> None:
    state, cutover = parted(site, work)
    stopped = dataclasses.replace(work, check=stop_after(2), threads=1)
    with pytest.raises(KeyboardInterrupt):
        backfill(stopped, state, cutover, chunk_rows=100)
    chunks = work.ledger.chunks(state.relation, cutover)
    assert [(c.rows, c.done) for c in chunks] == [(100, True), (100, True), (100, False)]
    # A deploy that was killed after this was written, and before it could be recorded.
    elsewhere = Ledger(site.client, f"{site.database}_elsewhere")
    elsewhere.create()
    insert_chunk(dataclasses.replace(work, ledger=elsewhere), state, cutover, chunks[2])
    assert sorted(chunk_tables(site.client, state.relation).values()) == [0, 1, 2]
    backfill(work, state, cutover)
    assert counted(site, state) == batch_per_room(300)
    assert chunk_tables(site.client, state.relation) == {}


@pytest.mark.parametrize("moves", [1, 2])
def test_a_state_that_was_entered_in_part_is_entered_once(site: Site, work: Work, moves: int) -> None:
    state, cutover = parted(site, work)
    stopped = dataclasses.replace(work, check=stop_after(3 + moves), threads=1)
    with pytest.raises(KeyboardInterrupt):
        backfill(stopped, state, cutover, chunk_rows=100)
    assert work.ledger.entering() == {state.relation}
    live = read_live(site.client, site.database)
    assert cut_over(work, [state], live) == {state.relation: cutover}
    backfill(work, state, cutover)
    assert counted(site, state) == batch_per_room(300)


def test_a_state_is_begun_anew_where_clickhouse_was_killed_in_a_move(site: Site, work: Work) -> None:
    state, cutover = parted(site, work)
    stopped = dataclasses.replace(work, check=stop_after(3), threads=1)
    with pytest.raises(KeyboardInterrupt):
        backfill(stopped, state, cutover, chunk_rows=100)
    # As it can come up again: a partition is in both tables, and what it had in memory is gone.
    table, partition = site.rows(
        "SELECT concat(database, '.', table), partition_id FROM system.parts WHERE database = '{db}_state' "
        f"AND table LIKE '%{BACKFILL}%' AND active ORDER BY table, partition_id LIMIT 1"
    )[0]
    site.client.execute(f"ALTER TABLE {state.relation} ATTACH PARTITION ID '{partition}' FROM {table}")
    assert counted(site, state) != []
    site.client.execute(f"TRUNCATE TABLE {site.database}_duet.entering")
    live = read_live(site.client, site.database)
    again = cut_over(work, [state], live)[state.relation]
    assert again > cutover
    assert chunk_tables(site.client, state.relation) == {}
    backfill(work, state, again)
    assert counted(site, state) == batch_per_room(300)


def stop_after(times: int) -> Callable[[], None]:
    left = iter(range(times))

    def check() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return check


def test_a_cut_over_is_kept_by_the_next_deploy(site: Site, work: Work) -> None:
    plan = planned(
        site, per_room="select room, count(*) as messages, sum(size) as total from memory.chat.messages group by 1"
    )
    state = only_state(plan)
    first = cut_over(work, [state], read_live(site.client, site.database))
    site.insert(0, 10)
    assert cut_over(work, [state], read_live(site.client, site.database)) == first
    backfill(work, state, first[state.relation])
    assert counted(site, state) == batch_per_room(10)


def test_a_state_without_its_view_is_made_again(site: Site, work: Work) -> None:
    plan = planned(
        site, per_room="select room, count(*) as messages, sum(size) as total from memory.chat.messages group by 1"
    )
    state = only_state(plan)
    first = cut_over(work, [state], read_live(site.client, site.database))
    site.client.execute(f"DROP TABLE {state.views[0].name} SYNC")
    site.insert(0, 10)
    second = cut_over(work, [state], read_live(site.client, site.database))
    assert second[state.relation] > first[state.relation]
    assert second[state.relation] <= server_now(site.client)
    backfill(work, state, second[state.relation])
    assert counted(site, state) == batch_per_room(10)
