"""Inserts while ClickHouse goes away and comes back: nothing that was acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import UnavailableError
from realtime.ingest.committer import Table
from realtime.ingest.intake import Intake
from realtime.ingest.request import Taken
from realtime.ingest.writer import Writer
from realtime.planner.ir import SourceSpec
from realtime.settings import Settings
from tests.faults.relay import Relay
from tests.ingest.rows import COLUMNS, deployed, ndjson, row
from tests.landing import source


@pytest.fixture
def spec(database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.events", not_null=("id",))


def test_a_lost_answer_is_asked_for_again_and_counts_once(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    clickhouse.execute(f"CREATE DATABASE {database}_state")
    select = f"SELECT stream, countState() AS c FROM {spec.landing} GROUP BY stream"
    clickhouse.execute(
        f"CREATE TABLE {database}_state.c ENGINE = AggregatingMergeTree ORDER BY stream "
        f"SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 10000 EMPTY AS {select}"
    )
    clickhouse.execute(f"CREATE MATERIALIZED VIEW {database}_state.v TO {database}_state.c AS {select}")
    relay = Relay(endpoint)

    async def work() -> None:
        async with relay.open() as near:
            intake = Intake(near, plan)
            for i in range(5):
                relay.lose = 2
                assert await intake.take("app.events", ndjson(row(i), row(i + 100))) == Taken(2, 0)
            assert relay.connections >= 11
            await intake.close()

    asyncio.run(work())
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 10
    assert clickhouse.value(f"SELECT countMerge(c) FROM {database}_state.c") == 10


def test_every_waiting_request_learns_that_the_server_is_gone(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    relay = Relay(endpoint)

    async def work() -> None:
        async with relay.open() as near:
            intake = Intake(near, plan)
            relay.lose = 10**6
            takes = [intake.take("app.events", ndjson(row(i))) for i in range(20)]
            found = await asyncio.gather(*takes, return_exceptions=True)
            assert all(isinstance(f, UnavailableError) and "Idempotency-Key" in f.remedy for f in found)
            relay.lose = 0
            assert await intake.take("app.events", ndjson(row(1))) == Taken(1, 0)  # and it goes on
            assert intake.room.used == 0
            await intake.close()

    asyncio.run(work())


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    """A ClickHouse of this test's own."""
    settings = Settings.load(tmp_path, {"DUET_CLICKHOUSE_PORT": "0"})
    local.start(settings)
    yield settings
    local.daemon(settings).stop()


def test_a_killed_server_keeps_what_was_acknowledged(own: Settings, tmp_path: Path) -> None:
    endpoint = local.local_endpoint(own)
    assert endpoint is not None
    spec = source("app", COLUMNS, name="app.events", not_null=("id",))
    with ClickHouse(endpoint) as client:
        plan = deployed(client, "app", spec)
    again = Settings.load(tmp_path, {"DUET_CLICKHOUSE_PORT": str(endpoint.port)})

    async def work() -> set[int]:
        intake = Intake(endpoint, plan)
        acknowledged: set[int] = set()

        async def send(number: int) -> None:
            body = ndjson(row(number))
            key = f"row {number}" if number % 2 else ""
            assert await intake.take("app.events", body, idempotency_key=key) == Taken(1, 0)
            acknowledged.add(number)

        first = asyncio.gather(*(send(i) for i in range(50)))
        await asyncio.sleep(0.05)
        record = local.daemon(own).running()
        assert record is not None
        process = psutil.Process(record.pid)
        process.kill()
        second = asyncio.gather(*(send(i) for i in range(50, 100)))
        await asyncio.to_thread(process.wait, 10)
        await asyncio.to_thread(local.start, again)
        await asyncio.gather(first, second)
        await intake.close()
        return acknowledged

    assert asyncio.run(work()) == set(range(100))
    with ClickHouse(endpoint) as client:
        assert client.value(f"SELECT count() FROM {spec.landing}") == 100
        assert client.value(f"SELECT uniqExact(id) FROM {spec.landing}") == 100


def test_a_cancelled_caller_does_not_harm_the_others(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)

    async def work() -> None:
        intake = Intake(endpoint, plan)
        await intake.take("app.events", ndjson(row(0)))
        leaving = [asyncio.create_task(intake.take("app.events", ndjson(row(i)))) for i in range(1, 5)]
        keyed = [asyncio.create_task(intake.take("app.events", ndjson(row(9)), idempotency_key="k")) for _ in range(2)]
        staying = asyncio.create_task(intake.take("app.events", ndjson(row(5))))
        await asyncio.sleep(0)
        for task in (*leaving, keyed[0]):
            task.cancel()
        assert await staying == Taken(1, 0)
        assert await keyed[1] == Taken(1, 0)
        await intake.close()

    asyncio.run(work())
    assert clickhouse.value(f"SELECT uniqExact(id) = count() AND has(groupArray(id), 9) FROM {spec.landing}") == 1


def test_one_insert_is_in_flight_and_batches_are_bounded(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    deployed(clickhouse, database, spec)
    statement = f"INSERT INTO {spec.landing} (id) FORMAT JSONEachRow"
    large = b'{"id":1}\n' * 150_000

    async def work() -> None:
        sender = Writer(endpoint)
        table = Table(sender, gap=0)
        assert await asyncio.gather(*(table.put(statement, large, 150_000) for _ in range(3))) == [[], [], []]
        assert sender.inserts == 3  # two would be more than one insert's rows
        await table.drain()
        await sender.close()

    asyncio.run(work())
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 450_000
