"""Group commit: what waits for a table goes into one insert, and everyone in it is answered when it is on disk.

An insert starts at once where the last one began at least ``gap`` ago, else when that time is over; one is in flight
per table. An insert costs ClickHouse about 4 ms for one row and 5 ms for a thousand, so that waiting together is
what makes small requests cheap. A request of a thousand rows or more has nothing to gain and does not wait: one
caller that sends such requests in turn is about as fast as with ClickHouse directly, and 0.4 times as fast if it waits.

Requests with a key are not put together: their batch must be the same when they come again, whoever else waits
then. They are inserts of their own, a few at a time, without the gap. So keys are for requests of many rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec
from opentelemetry.trace import Span

from realtime.clickhouse.moment import from_micros
from realtime.emit.landing import INGESTED_AT, KNOWS
from realtime.emit.names import quoted
from realtime.errors import UnavailableError
from realtime.ingest.batch import Batch, numbers
from realtime.ingest.landed import Landing, stamp
from realtime.ingest.views import failing, throwing_rows
from realtime.ingest.writer import RowsRefusedError, Writer

MAX_ROWS = 200_000  # of one insert
MAX_BYTES = 16 * 2**20
_BULK_ROWS = 1_000  # of one request, that goes without the gap
_KEYED_AT_ONCE = 4

Traced = Callable[[int, Sequence[Span]], contextlib.AbstractContextManager[str]]
"""Around an insert of so many rows for the requests of these spans; gives the ``traceparent`` to send with it."""


def around(traced: Traced | None, rows: int, spans: Sequence[Span | None]) -> contextlib.AbstractContextManager[str]:
    """The same, where something is ``traced``."""
    kept = [span for span in spans if span is not None] if traced else []
    return traced(rows, kept) if traced and kept else contextlib.nullcontext("")


@dataclasses.dataclass(frozen=True)
class Refused:
    """A row that passed the checks and that ClickHouse did not take, with its reason."""

    row: bytes
    reason: str


@dataclasses.dataclass(eq=False)
class _Block:
    statement: str
    rows: bytes
    count: int
    span: Span | None
    done: asyncio.Future[list[Refused]]


class Table:
    """The queue of one table; ``gap`` in seconds. ``landing`` is the table, where it is one that feeds views;
    ``traced`` is around its inserts."""

    def __init__(
        self, writer: Writer, gap: float, landing: Landing | None = None, traced: Traced | None = None
    ) -> None:
        self._writer = writer
        self._traced = traced
        self._gap = gap
        self._landing = landing
        self._numbers = numbers()
        self._waiting: deque[_Block] = deque()
        self._last = float("-inf")
        self._worker: asyncio.Task[None] | None = None
        self._bulk = asyncio.Event()
        self._keyed = asyncio.Semaphore(_KEYED_AT_ONCE)

    async def put(
        self, statement: str, rows: bytes, count: int, batch: Batch | None = None, span: Span | None = None
    ) -> list[Refused]:
        """Inserts ``count`` rows, NDJSON, with ``statement``, for the request of ``span``. Returns, when they are on
        disk, those that ClickHouse refused. As a ``batch`` of their own they are inserted once, however often this is
        called with it.

        UnavailableError where the server is not there or does not take them, or a view fails without a row's fault.
        """
        if batch is not None:
            async with self._keyed:
                return list((await self._as_traced(statement, rows, count, batch, [span])).values())
        block = _Block(statement, rows, count, span, asyncio.get_running_loop().create_future())
        self._waiting.append(block)
        if count >= _BULK_ROWS:
            self._bulk.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await block.done

    async def drain(self) -> None:
        """Returns when nothing waits any more."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while self._waiting:
                wait = self._last + self._gap - clock()
                if wait > 0 and not self._bulk.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._bulk.wait(), wait)
                self._last = clock()
                await self._commit(self._next())
        finally:
            self._worker = None

    def _next(self) -> list[_Block]:
        """All that waits, up to the limits of one insert; the columns of all are the same."""
        first = self._waiting.popleft()
        together, rows, size = [first], first.count, len(first.rows)
        while self._waiting and self._waiting[0].statement == first.statement:
            rows, size = rows + self._waiting[0].count, size + len(self._waiting[0].rows)
            if rows > MAX_ROWS or size > MAX_BYTES:
                break
            together.append(self._waiting.popleft())
        if not any(block.count >= _BULK_ROWS for block in self._waiting):
            self._bulk.clear()
        return together

    async def _commit(self, together: list[_Block]) -> None:
        batch = Batch(next(self._numbers))
        try:
            rows, count = b"".join(b.rows for b in together), sum(b.count for b in together)
            refused = await self._as_traced(together[0].statement, rows, count, batch, [b.span for b in together])
        except Exception as error:
            for block in together:
                if not block.done.done():
                    block.done.set_exception(error)
            return
        start = 0
        for block in together:
            mine = [refused[i] for i in range(start, start + block.count) if i in refused] if refused else []
            start += block.count
            if not block.done.done():  # it is where the caller was cancelled
                block.done.set_result(mine)

    async def _as_traced(
        self, statement: str, rows: bytes, count: int, batch: Batch, spans: Sequence[Span | None]
    ) -> dict[int, Refused]:
        with around(self._traced, count, spans) as traceparent:
            if traceparent:
                batch = msgspec.structs.replace(batch, traceparent=traceparent)
            return await self._insert(statement, rows, batch)

    async def _insert(self, statement: str, rows: bytes, batch: Batch) -> dict[int, Refused]:
        """Inserts what can be inserted; the others by their place. Where rows have to be parted, the batches that
        they make follow from ``batch``."""
        sent = False

        async def before(tries: int) -> Mapping[str, str] | None:
            nonlocal sent
            settings = await self._before(rows, batch, tries)
            sent = True
            return settings

        try:
            await self._writer.insert(statement, rows, batch.id, before if self._landing else None, batch.traceparent)
            return {}
        except UnavailableError:
            if self._landing and sent:
                self._landing.give_up(batch)
            raise
        except _PartlyError as partly:
            missing, again = frozenset(partly.missing), msgspec.structs.replace(batch, resumed=True)
            parts = (again, lambda place: place not in missing), (again.part("rest"), missing.__contains__)
            return await self._parted(statement, rows.splitlines(), parts)
        except RowsRefusedError as error:
            lines = rows.splitlines()
            if error.view:
                return await self._insert_around(statement, lines, batch, error)
            if len(lines) == 1:
                return {0: Refused(lines[0], error.reason)}
            middle = len(lines) // 2
            halves = (batch.part(0), lambda place: place < middle), (batch.part(1), lambda place: place >= middle)
            return await self._parted(statement, lines, halves)

    async def _parted(
        self, statement: str, lines: list[bytes], parts: Sequence[tuple[Batch, Callable[[int], bool]]]
    ) -> dict[int, Refused]:
        """Inserts each part of the lines, which its condition on their places tells, as a batch of its own."""
        refused: dict[int, Refused] = {}
        for batch, belongs in parts:
            places = [place for place in range(len(lines)) if belongs(place)]
            found = await self._insert(statement, _joined([lines[place] for place in places]), batch)
            refused |= {places[place]: each for place, each in found.items()}
        return refused

    async def _before(self, rows: bytes, batch: Batch, tries: int) -> Mapping[str, str] | None:
        """Settings of the next try; None where ``rows`` have landed."""
        assert self._landing is not None
        self._landing.check()
        if not tries and not batch.resumed:
            cut = await self._landing.cut() if batch.cut is None else batch.cut
        else:
            cut = await self._landing.cut(again=True)
            if await self._landed(rows, batch):
                return None
        return {"log_comment": f"{KNOWS}{cut}"}

    async def _landed(self, rows: bytes, batch: Batch) -> bool:
        """Whether ``rows`` are in the landing table; they are in every view then too."""
        assert self._landing is not None
        found = await self._landing.find(batch)
        if not found.rows:
            return False
        if found.rows < rows.count(b"\n"):
            missing = await self._landing.missing(batch, found, rows)
            if missing:
                raise _PartlyError(missing)
        await self._landing.send_on(batch, found)
        return True

    async def _insert_around(
        self, statement: str, lines: list[bytes], batch: Batch, error: RowsRefusedError
    ) -> dict[int, Refused]:
        """Sends the insert again, as it landed and without the rows on which a view throws (see `views`).
        UnavailableError where a view throws and none of the rows is at fault."""
        assert self._landing is not None
        moment = from_micros((await self._landing.find(batch)).moment)
        statement = statement.replace(") FORMAT", f", {quoted(INGESTED_AT)}) FORMAT")
        refused: dict[int, Refused] = {}
        while True:
            left = [place for place in range(len(lines)) if place not in refused]
            found = await throwing_rows(self._writer, error.view, [lines[place] for place in left])
            refused |= {left[place]: Refused(lines[left[place]], reason) for place, reason in found.items()}
            rest = [stamp(line, moment) for place, line in enumerate(lines) if place not in refused]
            if not found:
                raise failing(error.view, error.reason)
            if not rest:
                return refused
            view = error.view
            try:
                await self._writer.insert(statement, _joined(rest), batch.id, traceparent=batch.traceparent)
                return refused
            except RowsRefusedError as next_error:
                if not next_error.view:
                    raise failing(view, next_error.reason) from None
                error = next_error


class _PartlyError(Exception):
    """Of a batch some partitions landed; ``missing`` are the places of the rows in the others."""

    def __init__(self, missing: list[int]) -> None:
        super().__init__(f"{len(missing)} rows did not land")
        self.missing = missing


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"
