"""Topics: from the queue that ClickHouse's Kafka engine fills, through the checks, into landing table and quarantine.

Messages are taken in batches. Which ones a batch holds is recorded before it is taken, so that a batch that was begun
is the same one when it comes again, and each is taken as a request with a key, which counts once (see `once`). A
message that the engine hands on twice has the same offset, and what has landed is not looked at again. One server reads
a source at a time: the lock is a running query, as that of a deploy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from realtime.emit.kafka import queue_of
from realtime.errors import DuetError
from realtime.ingest.piece import Origin, Piece, Row
from realtime.ingest.topics import (
    CONSUMERS,
    POSITIONS,
    Consumer,
    Range,
    State,
    Topic,
    Where,
    named,
    state_table,
    topics,
)
from realtime.ingest.writer import Writer
from realtime.planner.ir import SourceSpec

_LOG = logging.getLogger("duet.ingest")
_MESSAGES, _BYTES = 20_000, 8 * 2**20  # of one batch
_IDLE = 0.1  # seconds between two looks at a queue that is empty
_LOOK = 1.0  # seconds between two looks at the consumers
_AGAIN = 1.0  # seconds after an error, and between two tries to become the one who reads
_BROKEN = b"{"  # no JSON, so that each row is looked at

_COLUMNS = "source String, number UInt64, state String, at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')"
_ENGINE = "ReplacingMergeTree(number) ORDER BY source"
_SIZES = (
    "SELECT topic, partition, offset, length(message) AS size FROM {queue} WHERE {where} "
    "ORDER BY topic, partition, offset LIMIT 1 BY topic, partition, offset LIMIT {most} FORMAT JSONEachRow"
)
_MESSAGES_OF = (
    "SELECT topic, partition, offset, base64Encode(message) AS message FROM {queue} WHERE {where} "
    "ORDER BY topic, partition, offset LIMIT 1 BY topic, partition, offset FORMAT JSONEachRow"
)
_PARTITIONS = "SELECT DISTINCT topic, partition FROM {queue} FORMAT JSONEachRow"
_JSON = "FORMAT JSONEachRow"
_raw = msgspec.json.Decoder(msgspec.Raw)
_encoder = msgspec.json.Encoder()


class Message(msgspec.Struct, frozen=True):
    """A message; ``message`` in base 64."""

    topic: str
    partition: int
    offset: int
    message: str

    def row(self) -> Row:
        """The row that it is: one JSON object."""
        text = base64.b64decode(self.message)
        return Row(text, text, _problem(text), Origin(self.topic, self.partition, self.offset))


class _Size(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    size: int


class _Partition(msgspec.Struct):
    topic: str
    partition: int


class _Saved(msgspec.Struct):
    state: str


class Take(Protocol):
    """Stores the rows of messages as a request with a key."""

    async def __call__(self, source: str, rows: Sequence[Row], key: str) -> None: ...


class Readers:
    """Reads the topics of the sources that `watch` was given last."""

    def __init__(self, writer: Writer, take: Take) -> None:
        self._writer = writer
        self._take = take
        self._tasks: dict[tuple[str, SourceSpec], asyncio.Task[None]] = {}
        self._readers: dict[str, Reader] = {}

    def watch(self, database: str, sources: Sequence[SourceSpec]) -> None:
        """Reads for ``sources`` from now on, as far as they name a topic."""
        wanted = {(database, s) for s in sources if s.kafka is not None}
        for which in set(self._tasks) - wanted:
            self._tasks.pop(which).cancel()
            self._readers.pop(which[1].name, None)
        for which in wanted - set(self._tasks):
            reader = self._readers[which[1].name] = Reader(self._writer, self._take, *which)
            self._tasks[which] = asyncio.create_task(reader.run())

    def topics(self) -> list[Topic]:
        """How far this server has come with what it reads."""
        return [topic for reader in self._readers.values() for topic in reader.topics]

    async def close(self) -> None:
        """Ends reading; a batch that is under way goes on when a server starts again."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class Reader:
    """Reads the topic of one source."""

    def __init__(self, writer: Writer, take: Take, database: str, source: SourceSpec) -> None:
        self._writer = writer
        self._take = take
        self._source = source
        self._queue = queue_of(source)
        self._states = state_table(database)
        self._made = f"CREATE TABLE IF NOT EXISTS {self._states} ({_COLUMNS}) ENGINE = {_ENGINE}"
        self._lock = f"duet-topic-{database}-{source.name}"
        self._known: set[Where] = set()
        self._positions: dict[Where, int] = {}
        self.topics: tuple[Topic, ...] = ()

    async def run(self) -> None:
        """Reads until it is cancelled; waits while another server does."""
        while True:
            try:
                async with self._writer.held(self._lock) as lost:
                    await self._read(lost)
            except DuetError as error:
                _LOG.debug("topic of %s waits: %s", self._source.name, error)
            except Exception:
                _LOG.exception("the topic of %s can't be read", self._source.name)
            self.topics = ()
            await asyncio.sleep(_AGAIN)

    async def _read(self, lost: asyncio.Event) -> None:
        await self._writer.execute(self._made)
        found = await self._writer.read(f"{POSITIONS.format(table=self._states)} {_JSON}", named(self._source), _Saved)
        state = msgspec.json.decode(found[0].state, type=State) if found[0].state else State()
        rows = await self._writer.read(_PARTITIONS.format(queue=self._queue), {}, _Partition)
        self._known |= {(row.topic, row.partition) for row in rows}
        self._positions = state.positions()
        looking = asyncio.create_task(self._look())
        unsaved = False
        try:
            while not lost.is_set():
                if state.planned:
                    await self._batch(state.planned)
                    state, unsaved = _landed(state), True
                    self._positions = state.positions()
                planned = await self._next(state)
                if planned or unsaved:
                    state, unsaved = State(state.number + 1, state.landed, planned), False
                    await self._save(state)
                else:
                    await asyncio.sleep(_IDLE)
        finally:
            looking.cancel()
            await asyncio.wait([looking])

    async def _batch(self, ranges: Sequence[Range]) -> None:
        query = _MESSAGES_OF.format(queue=self._queue, where=" OR ".join(_within(r) for r in ranges))
        answer = await self._writer.fetch(query, {})
        rows = [msgspec.json.decode(line, type=Message).row() for line in answer.splitlines()]
        key = hashlib.sha256(_encoder.encode((self._source.name, ranges))).hexdigest()[:32]
        if rows:
            await self._take(self._source.name, rows, f"kafka:{key}")

    async def _next(self, state: State) -> tuple[Range, ...]:
        """What is in the queue beyond what has landed: as much as one batch holds."""
        positions = state.positions()
        if not self._known:
            return ()
        after = {where: positions.get(where, -1) for where in sorted(self._known)}
        where = " OR ".join(_beyond(*each, offset) for each, offset in after.items())
        query = _SIZES.format(queue=self._queue, where=where, most=_MESSAGES)
        until: dict[Where, int] = {}
        total = 0
        for found in await self._writer.read(query, {}, _Size):
            total += found.size
            if total > _BYTES and until:
                break
            until[found.topic, found.partition] = found.offset
        return tuple(Range(*each, after[each], offset) for each, offset in until.items())

    async def _save(self, state: State) -> None:
        row = {"source": self._source.name, "number": state.number, "state": _encoder.encode(state).decode()}
        statement = f"INSERT INTO {self._states} ({', '.join(row)}) FORMAT JSONEachRow"
        await self._writer.insert(statement, _encoder.encode_lines([row]), "")

    async def _look(self) -> None:
        """Finds partitions that the engine begins to read, and how far behind each is."""
        while True:
            with contextlib.suppress(DuetError):
                consumers = await self._writer.read(f"{CONSUMERS} {_JSON}", named(self._source), Consumer)
                self._known |= {(c.topic, c.partition) for c in consumers}
                self.topics = topics(self._source, consumers, self._positions)
            await asyncio.sleep(_LOOK)


def rows_in_pieces(rows: Sequence[Row], size: int) -> Iterator[Piece]:
    """The rows of messages, in pieces of about ``size`` bytes."""
    waiting: list[Row] = []
    length = 0
    for row in rows:
        waiting.append(row)
        length += len(row.json)
        if length >= size:
            yield _piece(waiting)
            waiting, length = [], 0
    if waiting:
        yield _piece(waiting)


def _piece(rows: list[Row]) -> Piece:
    broken = any(row.problem for row in rows)
    return Piece(_BROKEN if broken else b"\n".join(row.json for row in rows), functools.partial(iter, rows))


def _problem(text: bytes) -> str:
    """Why a message is no JSON. Each is looked at by itself: two halves of a row are not one."""
    try:
        _raw.decode(text)
    except UnicodeDecodeError:
        return "the message is not UTF-8"
    except RecursionError:
        return "the message is nested too deeply"
    except msgspec.DecodeError as error:
        return f"the message is not JSON: {error}" if text else "the message is empty"
    return ""


def _landed(state: State) -> State:
    positions = state.positions() | {(r.topic, r.partition): r.until for r in state.planned}
    return State(state.number, tuple((*where, offset) for where, offset in sorted(positions.items())))


def _within(each: Range) -> str:
    return f"({_beyond(each.topic, each.partition, each.after)} AND offset <= {each.until})"


def _beyond(topic: str, partition: int, offset: int) -> str:
    quoted_topic = topic.replace("\\", "\\\\").replace("'", "\\'")
    return f"(topic = '{quoted_topic}' AND partition = {partition} AND offset > {offset})"
