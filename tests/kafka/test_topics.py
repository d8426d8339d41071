"""Topics of a real Apache Kafka through a real ClickHouse: every message once, whatever dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.live import Live, read_live
from realtime.deploy.topics import check_passwords, connect, disconnect, topic_changes
from realtime.emit.kafka import connect_ddl
from realtime.emit.landing import table_settings
from realtime.errors import ConfigError, PortInUseError
from realtime.ingest.intake import Intake
from realtime.ingest.topics import read_topics
from realtime.planner.ir import Kafka, Plan, SourceSpec
from realtime.server.metrics import Metrics
from realtime.settings import Settings
from tests.ingest.rows import deployed
from tests.kafka.broker import PASSWORD, USER, Addresses, running
from tests.landing import source

COUNT = 20_000
COLUMNS = {"id": "BIGINT", "name": "VARCHAR"}


@pytest.fixture(scope="module")
def addresses() -> Iterator[Addresses]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def broker(addresses: Addresses) -> str:
    return addresses.plain


def reading(database: str, broker: str, topic: str, group: str = "duet") -> SourceSpec:
    kafka = Kafka(brokers=broker, topic=topic, group=group)
    return msgspec.structs.replace(source(database, COLUMNS, not_null=("id",)), kafka=kafka)


def connected(client: ClickHouse, plan: Plan, before: Plan | None = None) -> Live:
    """What a deploy does about topics."""
    live = msgspec.structs.replace(read_live(client, plan.database, plan), plan=before)
    disconnect(client, plan, live)
    connect(client, plan, live)
    return msgspec.structs.replace(read_live(client, plan.database, plan), plan=plan)


def made(client: ClickHouse, database: str, spec: SourceSpec) -> Plan:
    """Landing table with a state on it, which counts what a materialized view is handed."""
    plan = deployed(client, database, spec)
    client.execute(f"CREATE DATABASE {database}_duet")
    client.execute(
        f"CREATE TABLE {database}_raw.counted (n UInt64) ENGINE = SummingMergeTree ORDER BY () "
        f"SETTINGS {table_settings(replicated=False)}"
    )
    client.execute(
        f"CREATE MATERIALIZED VIEW {database}_raw.counting TO {database}_raw.counted AS "
        f"SELECT count() AS n FROM {spec.landing}"
    )
    return plan


def send(client: ClickHouse, kafka: Kafka | None, messages: str) -> None:
    """Writes messages, which a SELECT gives, to the topic."""
    assert kafka is not None
    client.execute(
        f"CREATE TABLE IF NOT EXISTS default.`{kafka.topic}` (message String) ENGINE = Kafka SETTINGS "
        f"kafka_broker_list = '{kafka.brokers}', kafka_topic_list = '{kafka.topic}', kafka_group_name = 'sender', "
        "kafka_format = 'RawBLOB'"
    )
    client.execute(f"INSERT INTO default.`{kafka.topic}` {messages}")


def numbered(first: int, count: int) -> str:
    return f"SELECT concat('{{\"id\":', toString(number), '}}') FROM numbers({first}, {count})"


@contextlib.asynccontextmanager
async def server(endpoint: Endpoint, plan: Plan) -> AsyncIterator[Intake]:
    intake = Intake(endpoint, plan)
    await intake.update(plan)
    try:
        yield intake
    finally:
        await intake.close()


async def until(condition: Callable[[], Any], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.1)


def landed(client: ClickHouse, spec: SourceSpec) -> tuple[int, int, int]:
    """Rows, different ids, and rows as the state counted them."""
    database = spec.landing.split(".")[0]
    rows, ids = client.rows(f"SELECT count() AS rows, uniqExact(id) AS ids FROM {spec.landing}")[0].values()
    return rows, ids, int(client.value(f"SELECT sum(n) FROM {database}.counted") or 0)


def rows_beyond(client: ClickHouse, spec: SourceSpec, count: int) -> bool:
    return landed(client, spec)[0] > count


async def killed(settings: Settings) -> None:
    """ClickHouse, killed and started again."""
    found = local.daemon(settings).running()
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    await until(lambda: is_free(settings.number("DUET_CLICKHOUSE_PORT")))
    await asyncio.to_thread(local.start, settings)


def is_free(port: int) -> bool:
    try:
        local.check_port(port, "")
    except PortInUseError:
        return False
    return True


def test_messages_land_and_what_does_not_fit_is_in_quarantine(
    clickhouse: ClickHouse, endpoint: Endpoint, database: str, broker: str
) -> None:
    spec = reading(database, broker, f"{database}-orders")
    plan = made(clickhouse, database, spec)
    bad = ["no json", '{"id":1}{"id":2', '{"id":3', ',"name":"x"}', '{"id":"x"}', '{"id":1,"nmae":""}', "[1]", "\\xff"]
    send(clickhouse, spec.kafka, numbered(0, 1000))
    live = connected(clickhouse, plan)
    assert not list(topic_changes(plan, live))
    away = msgspec.structs.replace(spec, name="shop.away", landing=f"{database}_raw.away")
    (topic,) = read_topics(clickhouse, database, [away])
    assert (topic.topic, topic.lag) == (f"{database}-orders", None)
    assert topic.problem.startswith("ClickHouse reads no partition")
    send(clickhouse, spec.kafka, f"SELECT arrayJoin({bad})")
    lines: list[str] = []

    async def run() -> None:
        async with server(endpoint, plan) as intake:
            await until(lambda: clickhouse.value(f"SELECT count() FROM {spec.quarantine}") == len(bad))
            await until(lambda: [t.lag for t in intake.topics()] == [0, 0])
            metrics = Metrics()
            metrics.watch_topics(intake.topics)
            lines.extend(metrics.text().decode().splitlines())

    asyncio.run(run())
    assert landed(clickhouse, spec) == (1000, 1000, 1000)
    found = clickhouse.rows(f"SELECT * FROM {spec.quarantine} ORDER BY row")
    assert {r["topic"] for r in found} == {f"{database}-orders"}
    assert len({(r["partition"], r["offset"]) for r in found}) == len(bad)
    reasons = {r["row"]: r["reasons"][0] for r in found}
    assert reasons["no json"].startswith("the message is not JSON")
    assert reasons['{"id":3'].startswith("the message is not JSON")  # the next message is not its other half
    assert reasons['{"id":"x"}'] == 'expected a whole number, got "x"'
    assert reasons['{"id":1,"nmae":""}'] == "is not declared; did you mean name?"
    topics = read_topics(clickhouse, database, plan.sources)
    assert [(t.source, t.partition, t.lag, t.problem) for t in topics] == [("shop.orders", p, 0, "") for p in (0, 1)]
    assert sum(t.landed + 1 for t in topics) == 1000 + len(bad)
    labels = f'{{partition="0",source="shop.orders",topic="{database}-orders"}}'
    assert f"duet_topic_lag{labels} 0.0" in lines
    assert f"duet_topic_offset{labels} {float(topics[0].landed)}" in lines


def test_a_topic_that_is_read_again_from_its_beginning_counts_once(
    clickhouse: ClickHouse, endpoint: Endpoint, database: str, broker: str
) -> None:
    spec = reading(database, broker, f"{database}-orders")
    plan = made(clickhouse, database, spec)
    send(clickhouse, spec.kafka, numbered(0, 500))
    live = connected(clickhouse, plan)
    other = msgspec.structs.replace(plan, sources=(reading(database, broker, f"{database}-orders", "another"),))

    async def run() -> None:
        async with server(endpoint, plan), server(endpoint, plan):  # one of them reads
            await until(lambda: landed(clickhouse, spec)[0] >= 500)
            (change,) = topic_changes(other, live)
            assert change.reason.endswith("as group another now")
            connected(clickhouse, other, plan)
            send(clickhouse, spec.kafka, numbered(500, 100))
            await until(lambda: clickhouse.value(f"SELECT count() FROM {spec.landing}__queue") == 1100)
            await until(lambda: landed(clickhouse, spec)[0] >= 600)

    asyncio.run(run())
    assert landed(clickhouse, spec) == (600, 600, 600)
    gone = msgspec.structs.replace(plan, sources=(msgspec.structs.replace(spec, kafka=None),))
    assert [str(c.kind) for c in topic_changes(gone, live)] == ["disconnect topic"]
    connected(clickhouse, gone, other)
    tables = [r["name"] for r in clickhouse.rows(f"SHOW TABLES FROM {database}_raw")]
    assert not [name for name in tables if "kafka" in name]
    assert "shop__orders__queue" in tables


def test_a_topic_is_read_with_a_password_that_nothing_shows(
    clickhouse: ClickHouse, endpoint: Endpoint, database: str, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = reading(database, addresses.plain, f"{database}-guarded")
    guarded = Kafka(
        brokers=addresses.guarded, topic=f"{database}-guarded", group="duet", security_protocol="sasl_plaintext",
        sasl_mechanism="PLAIN", username=USER, password_env="DUET_TEST_PASSWORD",
    )  # fmt: skip
    spec = msgspec.structs.replace(plain, kafka=guarded)
    plan = made(clickhouse, database, spec)
    send(clickhouse, plain.kafka, numbered(0, 100))
    monkeypatch.delenv("DUET_TEST_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="DUET_TEST_PASSWORD is not set"):
        check_passwords(plan, read_live(clickhouse, plan.database, plan))
    monkeypatch.setenv("DUET_TEST_PASSWORD", PASSWORD)
    live = connected(clickhouse, plan)

    async def run() -> None:
        async with server(endpoint, plan):
            await until(lambda: landed(clickhouse, spec)[0] >= 100)

    asyncio.run(run())
    assert landed(clickhouse, spec) == (100, 100, 100)
    clickhouse.execute("SYSTEM FLUSH LOGS")
    known = clickhouse.rows(f"SELECT * FROM system.tables WHERE database = '{database}_raw'")
    known += clickhouse.rows(f"SELECT query FROM system.query_log WHERE query LIKE '%{database}%__kafka%'")
    assert "sasl_password = '[HIDDEN]'" in str(known)
    shown = [str(known), msgspec.json.encode((plan, live)).decode(), "".join(connect_ddl(spec, guarded))]
    assert not [text for text in shown if PASSWORD in text]
    assert "'${DUET_TEST_PASSWORD}'" in shown[-1]


def test_every_message_counts_once_whatever_is_killed(tmp_path: Path, broker: str) -> None:
    settings = Settings.load(tmp_path, {"DUET_CLICKHOUSE_PORT": "0"})
    local.start(settings)
    endpoint = local.local_endpoint(settings)
    assert endpoint is not None
    again = Settings.load(tmp_path, {"DUET_CLICKHOUSE_PORT": str(endpoint.port)})
    spec = reading("app", broker, "killed")
    with ClickHouse(endpoint) as client:
        plan = made(client, "app", spec)
        connected(client, plan)

    async def run() -> None:
        for first in range(0, 2 * COUNT, COUNT):
            async with server(endpoint, plan):
                with ClickHouse(endpoint) as client:
                    send(client, spec.kafka, numbered(first, COUNT))
                    await until(partial(rows_beyond, client, spec, first))
                await killed(again)
            # and the server that read goes away, perhaps with a batch that it had begun
        async with server(endpoint, plan):
            with ClickHouse(endpoint) as client:
                await until(partial(rows_beyond, client, spec, 2 * COUNT - 1), 60)
            await asyncio.sleep(1)

    try:
        asyncio.run(run())
        with ClickHouse(endpoint) as client:
            assert landed(client, spec) == (2 * COUNT,) * 3
    finally:
        local.daemon(again).stop()
