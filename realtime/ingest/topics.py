"""How far each topic is read, and how far behind: what `duet status` and the metrics show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.emit.kafka import engine_of
from realtime.emit.names import quoted
from realtime.planner.ir import SourceSpec

_NOT_READ = "ClickHouse reads no partition: is the broker reached, and the topic there?"

Where = tuple[str, int]
"""A topic and one of its partitions."""

# librdkafka's statistics are of a few seconds ago; -1 and -1001 stand for what it does not know yet.
CONSUMERS = (
    "WITH JSONExtractRaw(rdkafka_stat, 'topics', topic, 'partitions', toString(partition)) AS known "
    "SELECT topic, partition, max(if(JSONHas(known, 'hi_offset'), JSONExtractInt(known, 'hi_offset'), -1)) AS end, "
    "any(if(empty(`exceptions.text`), '', `exceptions.text`[-1])) AS problem FROM system.kafka_consumers "
    "ARRAY JOIN assignments.topic AS topic, assignments.partition_id AS partition "
    "WHERE concat(database, '.', table) = {engine:String} GROUP BY topic, partition ORDER BY topic, partition"
)
POSITIONS = "SELECT argMax(state, number) AS state FROM {table} WHERE source = {{source:String}}"


class Consumer(msgspec.Struct, frozen=True):
    """A partition that a consumer of the engine reads; ``end`` is the offset of the next message to come."""

    topic: str
    partition: int
    end: int
    problem: str = ""


class Topic(msgspec.Struct, frozen=True):
    """A partition of a source's topic. ``landed`` is the offset of the last message that is in the landing table or
    in quarantine, -1 where there is none; ``lag`` how many are not yet, None while that is not known."""

    source: str
    topic: str
    partition: int
    landed: int
    lag: int | None
    problem: str = ""


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Messages of one partition, ``after`` one offset up to another, ``until``."""

    topic: str
    partition: int
    after: int
    until: int


class State(msgspec.Struct, frozen=True):
    """Of one source: what has landed, in ``landed``, and in ``planned`` what is being taken now. ``number`` grows."""

    number: int = 0
    landed: tuple[tuple[str, int, int], ...] = ()
    planned: tuple[Range, ...] = ()

    def positions(self) -> dict[Where, int]:
        """The last offset that landed, by partition."""
        return {(topic, partition): offset for topic, partition, offset in self.landed}


def state_table(database: str) -> str:
    """Where the states of all sources are kept."""
    return f"{quoted(f'{database}_duet')}.topics"


def named(source: SourceSpec) -> dict[str, str]:
    """Parameters of `CONSUMERS` and `POSITIONS`."""
    return {"engine": engine_of(source), "source": source.name}


def topics(source: SourceSpec, consumers: Sequence[Consumer], positions: Mapping[Where, int]) -> tuple[Topic, ...]:
    """Every partition that is read, or was; where none is read now, that is the problem."""
    ends = {(c.topic, c.partition): c for c in consumers}
    wanted = {*ends, *positions} or {(source.kafka.topic if source.kafka is not None else "", -1)}
    found = []
    for where in sorted(wanted):
        landed, consumer = positions.get(where, -1), ends.get(where)
        lag = max(0, consumer.end - landed - 1) if consumer is not None and consumer.end >= 0 else None
        problem = (consumer.problem if consumer is not None else "") if ends else _NOT_READ
        found.append(Topic(source.name, *where, landed, lag, problem))
    return tuple(found)


def read_topics(client: ClickHouse, database: str, sources: Sequence[SourceSpec]) -> tuple[Topic, ...]:
    """How far the topics of ``sources`` are read."""
    there = client.value(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'topics'",
        {"database": f"{database}_duet"},
    )
    found: list[Topic] = []
    for source in sources:
        if source.kafka is not None:
            consumers = [msgspec.convert(row, Consumer) for row in client.rows(CONSUMERS, named(source))]
            saved = client.value(POSITIONS.format(table=state_table(database)), named(source)) if there else ""
            state = msgspec.json.decode(saved, type=State) if saved else State()
            found += topics(source, consumers, state.positions())
    return tuple(found)
