"""Requests with a key: once in landing and in every state, whatever happens between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError, KeyReusedError
from realtime.ingest.intake import Intake
from realtime.ingest.request import Taken
from realtime.planner.ir import Plan, SourceSpec
from realtime.settings import Settings
from tests.deploy.conftest import PER_ROOM, RENAMED, Site, batch_per_room, message, project
from tests.faults.relay import Relay, crash, near
from tests.ingest.rows import COLUMNS, deployed, ndjson, quarantined, row
from tests.landing import source


def run(endpoint: Endpoint, plan: Plan, work: Callable[[Intake], Awaitable[None]]) -> None:
    """``work`` with an intake that is closed afterwards."""

    async def main() -> None:
        intake = Intake(endpoint, plan)
        try:
            await work(intake)
        finally:
            await intake.close()

    asyncio.run(main())


@pytest.fixture
def spec(database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.events", not_null=("id",))


def ids(clickhouse: ClickHouse, spec: SourceSpec) -> list[int]:
    """What landed."""
    return [r["id"] for r in clickhouse.rows(f"SELECT id FROM {spec.landing} ORDER BY id")]


def test_a_key_stands_for_one_body(endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec) -> None:
    plan = deployed(clickhouse, database, spec)

    async def work(intake: Intake) -> None:
        with pytest.raises(BadRequestError, match="starts as a JSON array"):
            await intake.take("app.events", b"[1", idempotency_key="k")
        bodies = (ndjson(row(1)), ndjson(row(2)), ndjson(row(1)))
        first, other, again = await asyncio.gather(
            *(intake.take("app.events", body, idempotency_key="k") for body in bodies), return_exceptions=True
        )
        assert first == again == Taken(1, 0)
        assert isinstance(other, KeyReusedError)
        assert "'k' stands for another body" in other.message

    run(endpoint, plan, work)

    async def later(intake: Intake) -> None:
        with pytest.raises(KeyReusedError):
            await intake.take("app.events", ndjson(row(2)), idempotency_key="k")
        assert await intake.take("app.events", ndjson(row(2)), idempotency_key="l") == Taken(1, 0)

    run(endpoint, plan, later)
    assert ids(clickhouse, spec) == [1, 2]


def test_a_key_may_be_any_text(endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec) -> None:
    plan = deployed(clickhouse, database, spec)
    keys = ["a\\tb", "a\tb", "it's", "\\", "\\N", "a\nb", "{key:String}", "é 日本", "%00"]

    async def work(intake: Intake) -> None:
        for number, key in enumerate(keys):
            assert await intake.take("app.events", ndjson(row(number)), idempotency_key=key) == Taken(1, 0)

    run(endpoint, plan, work)
    run(endpoint, plan, work)  # another server, which is sent the same
    assert ids(clickhouse, spec) == list(range(len(keys)))


def test_it_is_remembered_longer_than_clickhouse_knows_the_token(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    clickhouse.execute(f"ALTER TABLE {spec.landing} MODIFY SETTING non_replicated_deduplication_window = 1")

    async def work(intake: Intake) -> None:
        for key in ("a", "b", "a", "b"):
            assert await intake.take("app.events", ndjson(row(1)), idempotency_key=key) == Taken(1, 0)
        assert ids(clickhouse, spec) == [1, 1]
        clickhouse.execute(f"TRUNCATE TABLE {spec.landing} SYNC")
        for key in ("a", "b", "a", "b"):  # what was stored is gone, so it is taken again
            assert await intake.take("app.events", ndjson(row(1)), idempotency_key=key) == Taken(1, 0)

    run(endpoint, plan, work)
    assert ids(clickhouse, spec) == [1, 1]


def test_rows_that_did_not_fit_are_taken_once_their_column_is_declared(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    body = ndjson(row(1), row(2, country="no"), row(3), row(4, country="no", planet="earth"), row(2, country="no"))
    wider = source(database, {**COLUMNS, "country": "VARCHAR"}, name="app.events", not_null=("id",))

    async def work(intake: Intake) -> None:
        assert await intake.take("app.events", body, idempotency_key="k") == Taken(2, 3)
        clickhouse.execute(f"ALTER TABLE {spec.landing} ADD COLUMN country Nullable(String)")
        await intake.update(Plan(project="test", database=database, sources=(wider,), steps=()))
        for _ in range(2):
            assert await intake.take("app.events", body, idempotency_key="k") == Taken(4, 1)

    run(endpoint, plan, work)
    assert ids(clickhouse, spec) == [1, 2, 2, 3]
    assert len(quarantined(clickhouse, spec)) == 3


def test_a_request_is_finished_by_the_declaration_it_began_with(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    body = ndjson(row(1), row(2, country="no"))
    wider = source(database, {**COLUMNS, "country": "VARCHAR"}, name="app.events", not_null=("id",))
    relay = Relay(endpoint)

    async def work() -> None:
        async with near(relay, plan) as intake:
            relay.losing = b"app__events+("
            await crash(relay, intake, "app.events", body, "k")

    asyncio.run(work())
    assert ids(clickhouse, spec) == [1]
    clickhouse.execute(f"ALTER TABLE {spec.landing} ADD COLUMN country Nullable(String)")

    async def later(intake: Intake) -> None:
        assert await intake.take("app.events", body, idempotency_key="k") == Taken(2, 0)

    run(endpoint, Plan(project="test", database=database, sources=(wider,), steps=()), later)
    assert ids(clickhouse, spec) == [1, 2]


def test_a_deploy_between_a_request_and_its_repetition(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, tmp_path: Path
) -> None:
    """Finished, landed and not acknowledged, or not even landed: the states of both versions count each row once."""
    site = Site(Settings.load(tmp_path, {}), clickhouse, database)
    plan = site.deploy(project({"per_room": PER_ROOM}))
    bodies = {k: ndjson(*(message(i) for i in range(10 * n, 10 * n + 10))) for n, k in enumerate("abc")}
    relay = Relay(endpoint)

    async def before() -> None:
        async with near(relay, plan) as intake:
            assert await intake.take("chat.messages", bodies["a"], idempotency_key="a") == Taken(10, 0)
            relay.losing = b"chat__messages+("
            await crash(relay, intake, "chat.messages", bodies["b"], "b")
            relay.stopping, relay.losing = relay.losing, b""
            await crash(relay, intake, "chat.messages", bodies["c"], "c")

    asyncio.run(before())
    assert site.per_room() == batch_per_room(20)
    changed = site.deploy(project({"per_room": RENAMED["per_room"]}))
    rows = "SELECT room, n, total FROM {db}.per_room ORDER BY room"
    assert site.rows(rows) == batch_per_room(20)

    async def again(intake: Intake) -> None:
        for key, body in bodies.items():
            assert await intake.take("chat.messages", body, idempotency_key=key) == Taken(10, 0)

    for _ in range(2):
        run(endpoint, changed, again)
    assert site.rows(rows) == batch_per_room(30)
    assert site.rows(f"SELECT count() FROM {database}_raw.chat__messages") == [(30,)]
