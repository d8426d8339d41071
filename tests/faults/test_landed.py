"""An insert whose answer is lost, finished after a deploy has cut over: every state counts each row once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.lock import exclusive
from realtime.deploy.promote import settle
from realtime.emit.landing import BATCH_ID, EARLY, INGESTED_AT, close_landing
from realtime.errors import UnavailableError
from realtime.ingest.landed import Landing
from realtime.ingest.request import Taken
from realtime.ingest.writer import Writer
from realtime.planner.ir import Plan
from realtime.settings import Settings
from tests.deploy.conftest import PER_ROOM, RENAMED, Site, batch_per_room, fill, message, project, source
from tests.faults.relay import Relay, crash, near
from tests.ingest.rows import ndjson

FIRST = {"per_room": PER_ROOM}
BOTH = {"per_room": PER_ROOM, "renamed": RENAMED["per_room"]}
PARTITIONED = source(partition_by="id % 3")
INSERT = b"_raw.chat__messages+("


@pytest.fixture
def site(tmp_path: Path, clickhouse: ClickHouse, database: str) -> Site:
    return Site(Settings.load(tmp_path, {}), clickhouse, database)


def made(site: Site, models: dict[str, str], partitioned: bool = False) -> Plan:
    """Makes what is new of ``models``, and cuts over; dbt has no part in it."""
    plan = site.compile(project(models, of=PARTITIONED if partitioned else None))
    fill(site, plan)
    settle(site.client, plan)
    return plan


def check(site: Site, count: int) -> None:
    """Messages 0 to ``count`` are in landing and in both states, once."""
    landing = f"{site.database}_raw.chat__messages"
    assert site.rows(f"SELECT count(), uniqExact(id) FROM {landing}") == [(count, count)]
    assert site.per_room() == batch_per_room(count)
    assert site.rows("SELECT room, n, total FROM {db}.renamed ORDER BY room") == batch_per_room(count)


def body(first: int, count: int) -> bytes:
    return ndjson(*map(message, range(first, first + count)))


@pytest.mark.parametrize("key", ["", "key"])
@pytest.mark.parametrize("partitioned", [False, True])
def test_a_cut_over_between_two_tries(endpoint: Endpoint, site: Site, partitioned: bool, key: str) -> None:
    plan = made(site, FIRST, partitioned)
    relay = Relay(endpoint)

    async def work() -> None:
        async with near(relay, plan) as intake:
            relay.losing = INSERT
            take = asyncio.create_task(intake.take("chat.messages", body(0, 20), idempotency_key=key))
            while not relay.cuts:
                await asyncio.sleep(0.005)
            await asyncio.to_thread(made, site, BOTH, partitioned)
            relay.losing = b""
            assert await take == Taken(20, 0)

    asyncio.run(work())
    check(site, 20)


def test_a_try_that_arrives_after_a_cut_over(endpoint: Endpoint, site: Site) -> None:
    """Its sender had given it up and sent the rows again before."""
    plan = made(site, FIRST)
    relay = Relay(endpoint)

    async def work() -> None:
        async with near(relay, plan) as intake:
            assert await intake.take("chat.messages", body(0, 5)) == Taken(5, 0)
            relay.keeping = INSERT
            take = asyncio.create_task(intake.take("chat.messages", body(5, 15)))
            while not relay.cuts:
                await asyncio.sleep(0.005)
            relay.keeping = b""
            assert await take == Taken(15, 0)
        await asyncio.to_thread(made, site, BOTH)
        assert EARLY.encode() in await relay.deliver()

    asyncio.run(work())
    check(site, 20)


def test_a_cut_over_between_two_servers_with_one_request(endpoint: Endpoint, site: Site) -> None:
    """Each sees that nobody has begun with it, one of them before the cut-over for long."""
    plan = made(site, FIRST)
    slow, fast = Relay(endpoint), Relay(endpoint)

    async def work() -> None:
        async with near(slow, plan) as one, near(fast, plan) as other:
            slow.holding = b".requests+("
            take = asyncio.create_task(one.take("chat.messages", body(0, 20), idempotency_key="k"))
            while not slow.held:
                await asyncio.sleep(0.005)
            assert await other.take("chat.messages", body(0, 20), idempotency_key="k") == Taken(20, 0)
            await asyncio.to_thread(made, site, BOTH)
            slow.holding = b""
            assert await take == Taken(20, 0)

    asyncio.run(work())
    check(site, 20)


def test_a_table_that_a_killed_deploy_left_closed_is_opened(endpoint: Endpoint, site: Site) -> None:
    """As `realtime.deploy.rebuild` leaves it between closing the old table and exchanging it."""
    plan = made(site, BOTH)
    landing = plan.sources[0].landing
    site.client.execute(f"CREATE TABLE {landing}__next_0123456789ab AS {landing}")
    site.client.execute(close_landing(landing))

    async def work() -> None:
        async with near(Relay(endpoint), plan) as intake:
            with exclusive(site.client, site.database):
                await intake.update(plan)
                with pytest.raises(UnavailableError, match="Too many parts"):
                    await intake.take("chat.messages", body(0, 10))
            assert await intake.take("chat.messages", body(0, 20)) == Taken(20, 0)

    asyncio.run(work())
    check(site, 20)
    assert site.names("_raw") == ["chat__messages", "chat__messages__quarantine"]


def test_what_was_under_way_is_found_behind_what_came_at_once_after_a_start(endpoint: Endpoint, site: Site) -> None:
    plan = made(site, FIRST)
    landing = plan.sources[0].landing
    (view,) = (name for name in site.names("_state") if name.endswith("__mv"))
    site.client.execute(f"DETACH TABLE {site.database}_state.`{view}` SYNC")
    site.client.execute(
        f"INSERT INTO {landing} (id, room, sender, size, {BATCH_ID}, {INGESTED_AT}) SELECT number, "
        "concat('room ', toString(number % 3)), concat('sender ', toString(number % 7)), number % 11, number + 1, "
        "now64(6, 'UTC') + toIntervalMillisecond(number) FROM numbers(50)",
        settings={"insert_allow_materialized_columns": 1},
    )
    site.client.execute(f"ATTACH TABLE {site.database}_state.`{view}`")
    ((last,),) = site.rows(f"SELECT toUnixTimestamp64Micro(max({INGESTED_AT})) FROM {landing}")

    async def work() -> None:
        writer = Writer(endpoint)
        try:
            assert await Landing(writer, plan.sources[0]).recover(last) == 50
        finally:
            await writer.close()

    asyncio.run(work())
    assert site.per_room() == batch_per_room(50)


def test_a_batch_that_landed_in_part(endpoint: Endpoint, site: Site) -> None:
    """As ClickHouse leaves it when it is killed between two partitions: no view has any of it."""
    plan = made(site, FIRST, partitioned=True)
    views = site.names("_state")
    relay = Relay(endpoint)

    async def before() -> None:
        async with near(relay, plan) as intake:
            await intake.take("chat.messages", body(0, 10))
            (view,) = (v for v in views if "MaterializedView" in _engine(site, v))
            site.client.execute(f"DETACH TABLE {site.database}_state.`{view}` SYNC")
            relay.losing = INSERT
            await crash(relay, intake, "chat.messages", body(10, 20), "k")
            site.client.execute(
                f"ALTER TABLE {site.database}_raw.chat__messages DELETE WHERE id >= 10 AND id % 3 = 1",
                settings={"mutations_sync": 2},
            )
            site.client.execute(f"ATTACH TABLE {site.database}_state.`{view}`")
            relay.losing = b""

    asyncio.run(before())
    changed = made(site, BOTH, partitioned=True)

    async def again() -> None:
        async with near(relay, changed) as intake:
            for _ in range(2):
                assert await intake.take("chat.messages", body(10, 20), idempotency_key="k") == Taken(20, 0)

    asyncio.run(again())
    check(site, 30)


def _engine(site: Site, name: str) -> str:
    ((engine,),) = site.rows(f"SELECT engine FROM system.tables WHERE database = '{{db}}_state' AND name = '{name}'")
    return str(engine)


def test_an_equal_block_of_another_request_is_not_taken_for_it(endpoint: Endpoint, site: Site) -> None:
    plan = made(site, FIRST)
    relay = Relay(endpoint)

    async def work() -> None:
        async with near(relay, plan) as intake:
            relay.stopping = INSERT
            await crash(relay, intake, "chat.messages", body(0, 10), "k")
            relay.stopping = b""
            assert await intake.take("chat.messages", body(0, 10)) == Taken(10, 0)
            await asyncio.to_thread(made, site, BOTH)
            assert await intake.take("chat.messages", body(0, 10), idempotency_key="k") == Taken(10, 0)

    asyncio.run(work())
    twice = [(room, 2 * n, 2 * total) for room, n, total in batch_per_room(10)]
    assert site.per_room() == twice
    assert site.rows("SELECT room, n, total FROM {db}.renamed ORDER BY room") == twice


def test_rows_taken_after_a_changed_declaration(endpoint: Endpoint, site: Site) -> None:
    plan = made(site, FIRST)
    sent = body(0, 10) + ndjson(*({**message(i), "country": "no"} for i in range(10, 20)))
    relay = Relay(endpoint)

    async def work() -> None:
        async with near(relay, plan) as intake:
            assert await intake.take("chat.messages", sent, idempotency_key="k") == Taken(10, 10)
            wider = source({**_columns(), "country": "varchar"})
            site.client.execute(f"ALTER TABLE {site.database}_raw.chat__messages ADD COLUMN country Nullable(String)")
            changed = site.compile(project(FIRST, of=wider))
            await intake.update(changed)
            relay.losing = INSERT
            await crash(relay, intake, "chat.messages", sent, "k")
            relay.losing = b""
            await asyncio.to_thread(made, site, BOTH)
            assert await intake.take("chat.messages", sent, idempotency_key="k") == Taken(20, 0)

    asyncio.run(work())
    check(site, 20)


def _columns() -> dict[str, str]:
    return {"id": "bigint", "room": "varchar", "sender": "varchar", "size": "integer"}
