"""A project on a cluster of two shards: deployed, fed through either, deployed again meanwhile, one killed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.apply import deploy
from realtime.deploy.live import active_plan
from realtime.deploy.lock import exclusive
from realtime.deploy.promote import stage_views
from realtime.errors import BusyError, SourceError
from realtime.ingest.batch import Batch
from realtime.ingest.committer import Table
from realtime.ingest.intake import Intake
from realtime.ingest.landed import Landing
from realtime.ingest.quarantine import waiting
from realtime.ingest.schema import Schema
from realtime.ingest.writer import Writer
from realtime.planner.ir import Plan
from realtime.planner.planner import plan_project
from realtime.project.manifest import Project, Source
from realtime.settings import Settings
from tests.clusters.servers import CLUSTER, Cluster
from tests.deploy.conftest import PER_ROOM, PER_SENDER, Site, project, source
from tests.planner.test_lambdas import written

MODELS = {
    "per_room": PER_ROOM,
    "per_sender": PER_SENDER,
    "newest": "select * from memory.chat.messages qualify row_number() over (partition by room order by id desc) = 1",
    "ranked": "select room, rank() over (order by total desc, room) as place from memory.main.per_room",
    "pairs": "select a.room, b.sender, a.total from memory.main.per_room a join memory.main.per_sender b "
    "on a.messages = b.messages",
    "known": "select count(*) as n from memory.chat.messages where room in (select room from memory.main.per_room)",
}
QUERIES = {
    "room": written("select room, total from memory.main.per_room where room = {{ param('room', 'varchar') }}"),
    "sent": written("select count(*) as n from memory.chat.messages where room = {{ param('room', 'varchar') }}"),
}
LARGER = MODELS | {"per_room": PER_ROOM.replace("sum(size)", "max(size) as largest, sum(size)")}


def on_cluster(of: Project) -> Project:
    """The same project for the cluster."""
    return dataclasses.replace(of, cluster=CLUSTER)


def messages(**options: Any) -> Source:
    """The source, spread by its id: the rows of every group are on both shards."""
    return source(**{"shard_by": "id", "partition_by": "id % 3", **options})


@dataclasses.dataclass
class Place:
    """A database on the cluster; ``sites`` are the ways to it, one per server."""

    cluster: Cluster
    sites: list[Site]

    def deploy(self, models: Mapping[str, str], of: Source, by: int = 0) -> Plan:
        site = self.sites[by]
        plan = site.compile(on_cluster(project(models, of=of, queries=QUERIES if "ranked" in models else {})))
        deploy(site.settings, plan, site.client, site.said.append, build=stage_views)
        assert site.changes(plan) == ()
        return plan

    def active(self) -> Plan:
        """The plan that is deployed."""
        found = active_plan(self.sites[0].client, self.sites[0].database)
        assert found is not None
        return found

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The answer, the same whichever server is asked."""
        asked = [site.client.rows(sql.replace("{db}", site.database), parameters) for site in self.sites]
        answers = [[tuple(row.values()) for row in rows] for rows in asked]
        assert answers[0] == answers[1]
        return answers[0]

    def local(self, number: int, table: str) -> int:
        """How many rows one server itself has of a landing table."""
        site = self.sites[number]
        return int(site.client.value(f"SELECT count() FROM {site.database}_raw.{table}"))


@pytest.fixture
def place(two_shards: Cluster, tmp_path: Path) -> Iterator[Place]:
    """A database of the test's own."""
    database = f"t{uuid.uuid4().hex[:12]}"
    clients = [ClickHouse(endpoint) for endpoint in two_shards.endpoints]
    yield Place(two_shards, [Site(Settings.load(tmp_path, {}), client, database) for client in clients])
    for server in two_shards.servers:
        with ClickHouse(server.endpoint) as client:
            for row in client.rows(f"SELECT name FROM system.databases WHERE startsWith(name, '{database}')"):
                client.execute(f"DROP DATABASE IF EXISTS `{row['name']}` SYNC")
    for client in clients:
        client.close()


def body(ids: range) -> bytes:
    rows = ({"id": i, "room": f"r{i % 5}", "sender": f"s{i % 3}", "size": i} for i in ids)
    return b"\n".join(json.dumps(row).encode() for row in rows)


async def send(place: Place, plan: Plan, by: int, rows: bytes, key: str = "", refused: int = 0) -> None:
    intake = Intake(place.cluster.endpoints[by], plan)
    try:
        taken = await intake.take("chat.messages", rows, idempotency_key=key)
        assert (taken.successful_rows, taken.quarantined_rows) == (rows.count(b"\n") + 1 - refused, refused)
    finally:
        await intake.close()


def check(place: Place, ids: range) -> None:
    """Every model answers as if it were computed over ``ids``."""
    rooms = {f"r{n}": [i for i in ids if i % 5 == n] for n in range(5)}
    expected = [(room, len(found), sum(found)) for room, found in rooms.items()]
    assert place.rows("SELECT room, messages, total FROM {db}.per_room ORDER BY room") == expected
    newest = [(room, max(found)) for room, found in rooms.items()]
    assert place.rows("SELECT room, id FROM {db}.newest ORDER BY room") == newest
    order = sorted(rooms, key=lambda room: (-sum(rooms[room]), room))
    assert place.rows("SELECT room FROM {db}.ranked ORDER BY place") == [(room,) for room in order]
    assert place.rows("SELECT n FROM {db}.known") == [(len(ids),)]
    called = {spec.name: spec for spec in place.active().lambdas}
    directly = called["room"].direct
    assert directly is not None
    for room, found in rooms.items():
        for asked in (called["room"].select, directly.select):
            assert place.rows(asked, room=room) == [(room, sum(found))]
        assert place.rows(called["sent"].select, room=room) == [(len(found),)]
    keyed = called["room"].keyed
    assert keyed is not None
    for asked in (keyed.select, directly.keyed):
        assert len(place.rows(asked, room=list(rooms))) == len(rooms)


def test_models_over_two_shards(place: Place) -> None:
    plan = place.deploy(MODELS, messages())
    asyncio.run(send(place, plan, 0, body(range(100))))
    asyncio.run(send(place, plan, 1, body(range(100, 200)), key="b"))
    asyncio.run(send(place, plan, 0, body(range(100, 200)), key="b"))
    assert place.local(0, "chat__messages") + place.local(1, "chat__messages") == 200
    assert min(place.local(0, "chat__messages"), place.local(1, "chat__messages")) > 50
    check(place, range(200))
    bad = b"\n".join(json.dumps({"id": i, "room": 1, "sender": "s", "size": 1}).encode() for i in range(20))
    for by in (0, 1):
        asyncio.run(send(place, plan, by, bad, key="bad", refused=20))
    assert [len(waiting(site.client, plan.sources)) for site in place.sites] == [20, 20]
    with pytest.raises(SourceError, match="shard_by are not what they were"):
        place.deploy(MODELS, messages(shard_by="room"))
    with pytest.raises(SourceError, match="not made anew on a cluster yet"):
        place.deploy(MODELS, messages(order_by="room"))


async def write(place: Place, plan: Plan, by: int, first: int, ended: asyncio.Event) -> set[int]:
    """Sends one row after the other through one server until it has ``ended``; the ids that were acknowledged."""
    intake, sent = Intake(place.cluster.endpoints[by], plan), set[int]()
    try:
        while not ended.is_set():
            number = first + len(sent)
            await intake.take("chat.messages", body(range(number, number + 1)))
            sent.add(number)
    finally:
        await intake.close()
    return sent


def whole(place: Place) -> set[int]:
    """The ids in the landing table, after a look at each of them being counted once in every state."""
    ids = [i for (i,) in place.rows("SELECT id FROM {db}_raw.chat__messages_all ORDER BY id")]
    assert len(ids) == len(set(ids))
    totals = [(len(ids), sum(ids))]
    assert place.rows("SELECT sum(messages), sum(total) FROM {db}.per_room") == totals
    assert place.rows("SELECT sum(messages) FROM {db}.per_sender") == [(len(ids),)]
    return set(ids)


def test_deployed_again_while_rows_come_through_both(place: Place) -> None:
    plan = place.deploy(MODELS, messages())
    asyncio.run(send(place, plan, 0, body(range(500))))

    async def run() -> set[int]:
        ended = asyncio.Event()
        writers = [asyncio.create_task(write(place, plan, by, 10_000 * (by + 1), ended)) for by in (0, 1)]
        await asyncio.to_thread(place.deploy, LARGER, messages(), 1)
        ended.set()
        return set[int]().union(*await asyncio.gather(*writers))

    sent = asyncio.run(run())
    assert whole(place) == sent | set(range(500))
    assert len(sent) > 20


def test_a_shard_is_killed_while_rows_come(place: Place) -> None:
    plan = place.deploy(MODELS, messages())
    server = place.cluster.servers[1]

    async def run() -> None:
        intake = Intake(place.cluster.endpoints[0], plan)
        try:
            await intake.take("chat.messages", body(range(50)))
            server.kill()
            sending = [
                asyncio.create_task(intake.take("chat.messages", body(range(50, 100)))),
                asyncio.create_task(intake.take("chat.messages", body(range(100, 150)), idempotency_key="k")),
            ]
            await asyncio.to_thread(server.start)
            await asyncio.gather(*sending)
            await intake.take("chat.messages", body(range(100, 150)), idempotency_key="k")
        finally:
            await intake.close()

    asyncio.run(run())
    assert whole(place) == set(range(150))
    check(place, range(150))


def test_a_batch_that_landed_on_one_shard_is_finished(place: Place) -> None:
    plan = place.deploy(MODELS, messages())
    (spec,), batch = plan.sources, Batch(number=77, began=0, resumed=True)
    given = "format(JSONEachRow, 'id Int64, room String, sender String, size Int32', $rows$" + body(range(60)).decode()
    place.sites[0].client.execute(
        f"INSERT INTO {spec.landing} (id, room, sender, size) "
        f"SELECT id, room, sender, size FROM {given}$rows$) WHERE cityHash64(tuple(toNullable(id))) % 2 = 0",
        settings={"query_id": batch.id, "insert_deduplication_token": batch.id},
    )
    landed = place.local(0, "chat__messages")
    assert 10 < landed < 50

    async def finish() -> None:
        writer = Writer(place.cluster.endpoints[1])
        table = Table(writer, 0, Landing(writer, spec))
        for _ in range(2):
            assert await table.put(Schema(spec).insert, body(range(60)) + b"\n", 60, batch) == []
        await writer.close()

    asyncio.run(finish())
    assert place.local(0, "chat__messages") == landed
    assert whole(place) == set(range(60))


def test_upserts_and_deletions_through_either(place: Place) -> None:
    columns = {"id": "bigint", "room": "varchar", "version": "bigint", "gone": "boolean"}
    people = source(columns, key=["id"], mode="upsert", version="version", deleted="gone")
    models = {
        "people": "select * from memory.chat.messages",
        "per_room": "select room, count(*) as n from memory.main.people group by room",
    }
    plan = place.deploy(models, people)

    async def run() -> None:
        intakes = [Intake(endpoint, plan) for endpoint in place.cluster.endpoints]
        for turn, intake in enumerate(intakes):
            rows = [{"id": i, "room": f"r{(i + turn) % 3}", "version": turn} for i in range(40)]
            await intake.take("chat.messages", b"\n".join(json.dumps(r).encode() for r in rows))
        late = json.dumps({"id": 1, "room": "late", "version": 0}).encode()
        await intakes[0].take("chat.messages", late)
        gone = b"\n".join(json.dumps({"id": i, "version": 5}).encode() for i in range(10))
        await intakes[1].take("chat.messages", gone, method="DELETE")
        for intake in intakes:
            await intake.close()

    asyncio.run(run())
    assert place.rows("SELECT id, room FROM {db}.people ORDER BY id") == [(i, f"r{(i + 1) % 3}") for i in range(10, 40)]
    assert place.rows("SELECT room, n FROM {db}.per_room ORDER BY room") == [("r0", 10), ("r1", 10), ("r2", 10)]


def test_two_deploys_exclude_each_other_through_different_servers(place: Place) -> None:
    first, second = (site.client for site in place.sites)
    with exclusive(first, "d"), pytest.raises(BusyError, match="another deploy"), exclusive(second, "d", 0):
        pass
    with exclusive(second, "d"):
        pass


def test_what_a_cluster_does_not_do_is_refused() -> None:
    assert ": no shard_by," in refusals(source())[0]
    kafka = {"brokers": "b:9092", "topic": "t", "group": "g"}
    assert "kafka on a cluster" in refusals(messages(kafka=kafka))[0]
    keyed = source(mode="upsert", key="id", version="size", shard_by="room")
    assert "which is no part of the key" in refusals(keyed)[0]


def refusals(of: Source) -> list[str]:
    """What stands against a project over the source on a cluster."""
    outcome = plan_project(on_cluster(project(of=of)), "d")
    return [each.message for each in outcome.refusals if isinstance(each, SourceError)]
