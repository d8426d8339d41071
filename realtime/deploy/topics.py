"""Connecting sources to Kafka topics.

A topic is connected when the new plan is active, and disconnected before: the view into the queue goes first, so that
no message is read that nobody stores. The group's offsets are Kafka's, so a topic that is connected again goes on where
it stopped; the few messages that it hands on twice have the same offsets, and count once.
"""

from __future__ import annotations

from collections.abc import Iterator

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.change import Change, Kind
from realtime.deploy.live import Live
from realtime.emit.kafka import connect_ddl, disconnect_ddl, engine_of, queue_of, view_of
from realtime.planner.ir import Kafka, Plan
from realtime.settings import secret


def topic_changes(plan: Plan, live: Live) -> Iterator[Change]:
    """What has to be done so that exactly the topics of ``plan`` are read, as it says."""
    before = {s.name: s for s in live.plan.sources} if live.plan is not None else {}
    wanted = {s.name: s for s in plan.sources if s.kafka is not None}
    for name, source in before.items():
        if name not in wanted and view_of(source) in live.landing:
            yield Change(Kind.DISCONNECT_TOPIC, view_of(source), f"source {name} names no topic any more")
    for name, source in wanted.items():
        kafka = source.kafka
        assert kafka is not None
        known = before.get(name)
        what = f"source {name} reads topic {kafka.topic} of {kafka.brokers} as group {kafka.group}"
        if not all(of(source) in live.landing for of in (queue_of, engine_of, view_of)):
            yield Change(Kind.CONNECT_TOPIC, view_of(source), what)
        elif known is None or known.kafka != kafka:
            yield Change(Kind.CONNECT_TOPIC, view_of(source), f"{what} now")


def check_passwords(plan: Plan, live: Live) -> None:
    """ConfigError where a password is needed to connect a topic, and its environment variable is not set."""
    changed = {change.subject for change in topic_changes(plan, live)}
    for source in plan.sources:
        if source.kafka is not None and view_of(source) in changed:
            _password(source.kafka)


def disconnect(client: ClickHouse, plan: Plan, live: Live) -> None:
    """Ends reading what ``plan`` does not read, or reads otherwise."""
    known = {s.name: s for s in (*plan.sources, *(live.plan.sources if live.plan is not None else ()))}
    changed = {change.subject for change in topic_changes(plan, live)}
    for source in known.values():
        if view_of(source) in changed:
            for statement in disconnect_ddl(source):
                client.execute(statement)


def connect(client: ClickHouse, plan: Plan, live: Live) -> None:
    """Begins to read what ``plan`` reads and is not read yet, as it says."""
    changed = {change.subject for change in topic_changes(plan, live)}
    for source in plan.sources:
        if source.kafka is not None and view_of(source) in changed:
            for statement in connect_ddl(source, source.kafka, _password(source.kafka)):
                client.execute(statement)


def _password(kafka: Kafka) -> str:
    return secret(kafka.password_env, f"topic {kafka.topic}") if kafka.password_env else ""
