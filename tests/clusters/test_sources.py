"""Sources on two shards: updates of parts of rows through both servers, and rows whose time is over."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import duckdb
import msgspec
import pytest

from realtime.errors import MethodError
from realtime.ingest.export import Exported, export
from realtime.ingest.intake import Intake
from realtime.ingest.lake_files import lake_files
from realtime.planner.ir import Plan, Shards
from realtime.project.manifest import Source
from tests.clusters.servers import REPLICATED
from tests.clusters.test_clusters import Place, place
from tests.deploy.conftest import source

__all__ = ["place"]

PEOPLE = {"id": "bigint", "a": "bigint", "b": "bigint", "version": "bigint", "gone": "boolean"}
SENT = {"id": "bigint", "room": "varchar", "sent_at": "timestamp"}
PER_ROOM = "select room, count(*) as messages, min(id) as first from memory.chat.messages group by room"
EVERYONE = {"everyone": "select id, a, b, version from memory.chat.messages"}


def people() -> Source:
    return source(PEOPLE, key=["id"], mode="upsert", version="version", deleted="gone")


def lines(*rows: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


async def change(intake: Intake, *rows: dict[str, Any], method: str = "PATCH") -> int:
    """Sends ``rows``; how many were taken."""
    return (await intake.take("chat.messages", lines(*rows), method=method)).successful_rows


def test_parts_of_rows_are_changed_through_either(place: Place) -> None:
    plan = place.deploy(EVERYONE, people())

    async def run() -> None:
        intakes = [Intake(endpoint, plan) for endpoint in place.cluster.endpoints]
        whole = [{"id": i, "a": i, "b": i, "version": 1} for i in range(200)]
        assert await change(intakes[0], *whole, method="POST") == 200
        assert await change(intakes[1], *({"id": i, "a": -i, "version": 2} for i in range(0, 200, 2))) == 100
        assert await change(intakes[0], *({"id": i, "b": 7, "version": 3} for i in range(50, 100))) == 50
        # Older than what is there, of a row that is not there and too little to be one, and one that can be a new row.
        assert await change(intakes[1], {"id": 51, "b": 0, "version": 2}) == 1
        assert await change(intakes[1], {"id": 999, "a": 1, "version": 5}) in (0, 1)
        assert await change(intakes[1], {"id": 1000, "a": 1, "b": 2, "version": 1, "gone": False}) == 1
        for intake in intakes:
            await intake.close()

    asyncio.run(run())
    expected = []
    for i in range(200):
        a, b, version = (-i, i, 2) if i % 2 == 0 else (i, i, 1)
        expected.append((i, a, 7, 3) if 50 <= i < 100 else (i, a, b, version))
    found = place.rows("SELECT id, a, b, version FROM {db}.everyone WHERE id NOT IN (999, 1000) ORDER BY id")
    assert found == expected
    assert place.rows("SELECT a, b FROM {db}.everyone WHERE id = 1000") == [(1, 2)]
    assert min(place.local(n, "chat__messages") for n in (0, 1)) > 50


def test_no_update_is_lost_where_both_servers_merge(place: Place) -> None:
    plan = place.deploy(EVERYONE, people())

    async def run() -> None:
        intakes = [Intake(endpoint, plan) for endpoint in place.cluster.endpoints]
        await change(intakes[0], *({"id": i, "a": 0, "b": 0, "version": 1} for i in range(4)), method="POST")
        # Versions are all the same, so that each update counts.
        for number in range(1, 25):
            both = zip(intakes, "ab", strict=True)
            await asyncio.gather(
                *(change(i, *({"id": k, column: number, "version": 1} for k in range(4))) for i, column in both)
            )
            found = place.rows("SELECT id, a, b FROM {db}.everyone ORDER BY id")
            assert found == [(i, number, number) for i in range(4)]
        for intake in intakes:
            await intake.close()

    asyncio.run(run())


def test_updates_while_a_shard_is_killed(place: Place) -> None:
    plan = place.deploy(EVERYONE, people())
    server = place.cluster.servers[1]

    async def run() -> None:
        intake = Intake(place.cluster.endpoints[0], plan)
        try:
            await change(intake, *({"id": i, "a": 0, "b": 0, "version": 1} for i in range(40)), method="POST")
            server.kill()
            changing = asyncio.create_task(change(intake, *({"id": i, "a": i, "version": 1} for i in range(40))))
            await asyncio.to_thread(server.start)
            assert await changing == 40
            assert await change(intake, *({"id": i, "b": -i, "version": 1} for i in range(40))) == 40
        finally:
            await intake.close()

    asyncio.run(run())
    assert place.rows("SELECT id, a, b FROM {db}.everyone ORDER BY id") == [(i, i, -i) for i in range(40)]


def test_where_replicas_may_lack_a_row_parts_are_not_changed(place: Place) -> None:
    plan = place.deploy(EVERYONE, people())
    (spec,) = plan.sources
    of_replicas = msgspec.structs.replace(spec, shards=Shards(REPLICATED, ("id",)))

    async def run() -> None:
        intake = Intake(place.cluster.endpoints[0], msgspec.structs.replace(plan, sources=(of_replicas,)))
        try:
            with pytest.raises(MethodError, match="has several replicas"):
                await change(intake, {"id": 1, "a": 1, "version": 1})
        finally:
            await intake.close()

    asyncio.run(run())


def sent(**options: Any) -> Source:
    return source(SENT, **{"shard_by": "id", "event_time": "sent_at", "ttl": "3 hours", **options})


def put(place: Place, ids: range, age: str) -> None:
    """Messages that were sent a while ago, with ids of both shards in each insert."""
    client = place.sites[0].client
    columns = "number AS id, concat('r', toString(number % 2)) AS room, now64(6) - INTERVAL {} AS sent_at"
    client.execute(
        f"INSERT INTO {place.sites[0].database}_raw.chat__messages_all (id, room, sent_at) "
        f"SELECT {columns.format(age)} FROM numbers({ids.start}, {len(ids)})"
    )


def exported(place: Place, plan: Plan) -> Exported:
    (found,) = export(place.sites[0].settings, plan, place.sites[0].client)
    return found


def landed(place: Place) -> list[int]:
    return [i for (i,) in place.rows("SELECT id FROM {db}_raw.chat__messages_all ORDER BY id")]


@pytest.mark.parametrize(
    "options", [{}, {"ttl": "ifNull(sent_at, _ingested_at) + INTERVAL 3 HOUR"}], ids=["words", "one by one"]
)
def test_rows_whose_time_is_over_go_once_the_lake_has_them(place: Place, options: dict[str, Any]) -> None:
    models = {"per_room": PER_ROOM}
    plan = place.deploy(models, sent(**options))
    for server in place.sites:
        server.client.execute(f"SYSTEM STOP TTL MERGES {plan.sources[0].landing}")
    # Each insert makes a part on both shards, of the same name: one holds what must stay.
    put(place, range(40), "2 DAY")
    put(place, range(40, 80), "1 MINUTE")
    first = exported(place, plan)
    assert (first.rows, first.expired, first.held) == (80, 40, False)
    for server in place.sites:
        server.client.execute(f"SYSTEM START TTL MERGES {plan.sources[0].landing}")
    put(place, range(80, 120), "2 DAY")
    assert landed(place) == list(range(40, 120))
    # A state that is made now has those that are gone: they come from the lake.
    changed = {"per_room": PER_ROOM.replace("min(id) as first", "min(id) as first, max(id) as last")}
    plan = place.deploy(changed, sent(**options), by=1)
    expected = [("r0", 60, 0, 118), ("r1", 60, 1, 119)]
    assert place.rows("SELECT room, messages, first, last FROM {db}.per_room ORDER BY room") == expected
    assert exported(place, plan).expired == 40
    assert landed(place) == list(range(40, 80))
    paths = [str(file.path) for file in lake_files(place.sites[0].settings, "chat.messages")]
    kept = duckdb.execute("SELECT id FROM read_parquet($1) ORDER BY id", [paths]).fetchall()
    assert [i for (i,) in kept] == list(range(120))
    assert place.rows("SELECT room, messages FROM {db}.per_room ORDER BY room") == [("r0", 60), ("r1", 60)]
