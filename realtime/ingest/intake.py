"""Taking rows for sources: checked, stored, and answered once they are on disk."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence

import msgspec
from opentelemetry.trace import Span

from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import NotFoundError, SlowBodyError
from realtime.ingest.bodies import PIECE, decompressed, pieces, too_large
from realtime.ingest.committer import Refused, Table, Traced
from realtime.ingest.kafka import Readers, rows_in_pieces
from realtime.ingest.landed import Landing
from realtime.ingest.once import Once
from realtime.ingest.patches import Patches
from realtime.ingest.piece import Piece, Row
from realtime.ingest.reasons import BadRow, sent
from realtime.ingest.records import fingerprint, fingerprints
from realtime.ingest.recovery import Recovery
from realtime.ingest.request import Request, Source, Stored, Taken
from realtime.ingest.room import Room, Share
from realtime.ingest.schema import Checked, Schema
from realtime.ingest.topics import Topic
from realtime.ingest.updates import Given
from realtime.ingest.writer import Turn, Writer
from realtime.planner.ir import Plan, SourceSpec
from realtime.settings import Settings

_BLOCK = 8 * 2**20  # bytes of one request that go into one insert
_IN_THREAD = 2**18  # compressed bodies from this size on are read beside the event loop
_MIB = 2**20
_SLOWEST = 16 * 1024  # bytes a second of a body
_encoder = msgspec.json.Encoder()


class Limits(msgspec.Struct, frozen=True):
    """``gap`` in seconds between two inserts into one table; ``body`` and ``waiting`` in bytes: of one body after
    decompression, and of all that is held at once. ``patience`` are the seconds in which a body begins to come."""

    gap: float = 0.02
    body: int = 64 * _MIB
    waiting: int = 256 * _MIB
    patience: float = 30

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As set in the environment."""
        return cls(
            gap=settings.number("DUET_INGEST_GAP_MS") / 1000,
            body=settings.number("DUET_MAX_BODY_MB") * _MIB,
            waiting=settings.number("DUET_INGEST_QUEUE_MB") * _MIB,
        )


class Intake:
    """Takes rows for the sources of ``plan`` into ``endpoint``; used within one event loop. ``turn`` gives what an
    insert holds while it runs, ``traced`` what is around the inserts into a table."""

    def __init__(
        self,
        endpoint: Endpoint,
        plan: Plan | None = None,
        *,
        limits: Limits | None = None,
        turn: Turn = contextlib.nullcontext,
        traced: Callable[[str], Traced] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.room = Room(self.limits.waiting)
        self.writer = Writer(endpoint, turn)
        self._traced = traced
        self._recovery = Recovery(self.writer)
        self._readers = Readers(self.writer, self.take_rows)
        self._sources: dict[str, Source] = {}
        self._tables: dict[str, Table] = {}
        self._landings: dict[str, Landing] = {}
        self._merging: dict[SourceSpec, Patches] = {}
        self._once: dict[str, Once] = {}
        self._database = ""
        self._plan(plan)

    async def take(
        self,
        source: str,
        body: bytes,
        *,
        content_type: str = "",
        encoding: str = "",
        idempotency_key: str = "",
        request_id: str = "",
        method: str = "POST",
        share: Share | None = None,
        span: Span | None = None,
    ) -> Taken:
        """Stores the rows of ``body`` (see `pieces`). Rows that don't fit go to quarantine with reasons.

        With ``idempotency_key`` the rows are stored once, however often the request comes, also to another server
        (see `Once`). ``method`` PATCH changes the columns that are given of rows of an upserted
        source, DELETE deletes them: its rows hold key and version.
        ``share`` is the caller's, if it has one; ``span`` is the request's, where it is traced.

        NotFoundError for an unknown source; BadRequestError for a body that can't be read; KeyReusedError where the
        key stands for another body; OverloadedError where too much waits already; UnavailableError where ClickHouse
        does not take the rows.
        """
        known = self._source(source)
        known.schema(method)
        with contextlib.nullcontext(share) if share else self.room.share() as share:
            request = Request(source=known, method=method, id=request_id, share=share, key=idempotency_key, span=span)
            body = await self._plain(body, encoding, share)
            found = await self._read(body, content_type.lower(), known, share)
            if not idempotency_key:
                return (await self._store(request, found())).taken
            return await self._keyed().take(request, body, found)

    def check(self, source: str, method: str) -> None:
        """NotFoundError for an unknown source, MethodError where it takes no such request."""
        self._source(source).schema(method)

    async def take_rows(self, source: str, rows: Sequence[Row], key: str) -> None:
        """Stores the rows of messages as a request with ``key`` does. Raises as `take` does."""
        with self.room.share() as share:
            share.add(sum(len(row.text) for row in rows))
            request = Request(source=self._source(source), method="POST", id=key, share=share, key=key)
            body = b"\n".join(row.text for row in rows)
            await self._keyed().take(request, body, functools.partial(rows_in_pieces, rows, PIECE))

    def topics(self) -> list[Topic]:
        """How far the topics are read that this server reads."""
        return self._readers.topics()

    async def read(self, chunks: AsyncIterable[bytes], share: Share) -> bytes:
        """A request's body as it was sent. BadRequestError where it is too long, SlowBodyError where it comes too
        slowly: what has come takes the place of others. OverloadedError where ``share`` can't hold it."""
        body = bytearray()
        begin, waited_for = asyncio.get_running_loop().time(), 0
        try:
            async with asyncio.timeout_at(begin + self.limits.patience) as patience:
                async for chunk in chunks:
                    share.add(len(chunk))
                    body += chunk
                    if len(body) > self.limits.body:
                        raise too_large(self.limits.body)
                    if len(body) >= waited_for + _SLOWEST:  # by whole seconds: small bodies need none
                        waited_for = len(body)
                        patience.reschedule(begin + self.limits.patience + waited_for / _SLOWEST)
        except TimeoutError:
            raise SlowBodyError(
                f"the body comes too slowly: {len(body):,} bytes in {self.limits.patience:g} s and more",
                remedy=f"send at least {_SLOWEST // 1024} KiB a second, or smaller bodies",
            ) from None
        return bytes(body)

    async def update(self, plan: Plan | None) -> None:
        """Takes rows for the sources of ``plan`` from now on; requests that are under way end as they began."""
        self._plan(plan)
        self._recovery.watch(self._database, [self._landing(spec) for spec in plan.sources] if plan else [])
        self._readers.watch(self._database, plan.sources if plan else ())

    async def close(self) -> None:
        """Returns when all that was taken is stored."""
        await self._readers.close()
        for once in list(self._once.values()):
            await once.drain()
        for patches in list(self._merging.values()):
            await patches.drain()
        for table in list(self._tables.values()):
            await table.drain()
        await self._recovery.close()
        await self.writer.close()

    def _plan(self, plan: Plan | None) -> None:
        sources = plan.sources if plan else ()
        self._database = plan.database if plan else ""
        self._sources = {
            s.name: old if (old := self._sources.get(s.name)) and old.spec == s else Source(s) for s in sources
        }

    def _keyed(self) -> Once:
        if self._database not in self._once:
            self._once[self._database] = Once(self.writer, self._database, self._store, self._cut)
        return self._once[self._database]

    async def _cut(self, source: SourceSpec) -> int:
        return await self._landing(source).cut()

    def _source(self, name: str) -> Source:
        found = self._sources.get(name)
        if found is None:
            known = ", ".join(sorted(self._sources))
            raise NotFoundError(
                f"no source {name!r}",
                remedy=f"known sources are {known}" if known else "deploy a project with sources: duet deploy",
            )
        return found

    def _table(self, relation: str, *, feeding: SourceSpec | None = None) -> Table:
        if relation not in self._tables:
            landing = self._landing(feeding) if feeding is not None else None
            traced = self._traced(relation) if self._traced else None
            self._tables[relation] = Table(self.writer, self.limits.gap, landing, traced)
        return self._tables[relation]

    def _landing(self, source: SourceSpec) -> Landing:
        return self._landings.setdefault(source.landing, Landing(self.writer, source, self._recovery.waits))

    def _patches(self, source: Source) -> Patches:
        spec = source.spec
        found = self._merging.get(spec)
        if found is None:
            traced = self._traced(spec.landing) if self._traced else None
            found = self._merging[spec] = Patches(self.writer, spec, source.schema("PATCH"), traced)
        return found

    async def _plain(self, body: bytes, encoding: str, share: Share) -> bytes:
        if len(body) >= _IN_THREAD and encoding:
            body = await asyncio.to_thread(decompressed, body, encoding, self.limits.body)
        else:
            body = decompressed(body, encoding, self.limits.body)
        if encoding:
            share.add(len(body))
        return body

    async def _read(
        self, body: bytes, content_type: str, source: Source, share: Share
    ) -> Callable[[], Iterator[Piece]]:
        """What reads the rows of ``body``: those of an Arrow stream are read at once, beside the event loop."""
        read = functools.partial(pieces, body, content_type, source.spec, self.limits.body)
        if "arrow" not in content_type:
            return read
        found = list(await asyncio.to_thread(read))
        share.add(sum(len(piece.json) for piece in found))
        return functools.partial(iter, found)

    async def _patch(self, request: Request, found: Iterator[Piece]) -> Stored:
        schema = request.source.schema(request.method)
        given: list[Given] = []
        bad: list[BadRow] = []
        for piece in found:
            good, others = schema.given(piece)
            given += good
            bad += others
            await asyncio.sleep(0)
        rows = [row for each in given for row in each.rows]
        refused = await self._patches(request.source).put(rows, request.span)
        if refused:
            as_sent = [(row, each.header) for each in given for row in each.sent()]
            for place, (columns, reasons) in refused.items():
                row, header = as_sent[place]
                bad.append(BadRow(sent(row.text), columns, reasons, header, *row.origin))
        await self._quarantine(request, bad)
        return Stored(Taken(len(rows) - len(refused), len(bad)), fingerprints(b.row for b in bad))

    async def _store(self, request: Request, found: Iterator[Piece]) -> Stored:
        if request.method == "PATCH":
            return await self._patch(request, _among(request.only, found))
        spec, schema = request.source.spec, request.source.schema(request.method)
        landing = self._table(spec.landing, feeding=spec)
        inserts: list[Awaitable[list[Refused]]] = []
        bad: list[BadRow] = []
        total = 0
        async for block in _blocks(schema, _among(request.only, found)):
            request.share.add(len(block.rows))
            bad += block.bad
            total += block.count
            if block.count:
                put = landing.put(schema.insert, block.rows, block.count, request.part(len(inserts)), request.span)
                more = len(block.rows) >= _BLOCK  # else nothing is left to be checked meanwhile
                inserts.append(asyncio.ensure_future(put) if more else put)
        refused = await _all(inserts)
        late = [BadRow(r.row.decode(), (), (r.reason,)) for r in refused]
        await self._quarantine(request, late if request.only is not None else bad + late)
        taken = Taken(total - len(refused), len(bad) + len(refused))
        return Stored(taken, fingerprints(b.row for b in bad))

    async def _quarantine(self, request: Request, bad: list[BadRow]) -> None:
        if bad:
            rows = _quarantined(bad, request.id)
            quarantine = self._table(request.source.spec.quarantine)
            await quarantine.put(request.source.quarantine, rows, len(bad), request.part("q"), request.span)


def _among(only: frozenset[int] | None, found: Iterator[Piece]) -> Iterator[Piece]:
    """Those rows of ``found`` that ``only`` names."""
    if only is None:
        yield from found
        return
    for piece in found:
        kept = [row for row in piece.rows() if fingerprint(sent(row.text).encode()) in only]
        if kept:
            yield Piece(b"\n".join(row.json or b"!" for row in kept), functools.partial(iter, kept), piece.header)


async def _blocks(schema: Schema, found: Iterator[Piece]) -> AsyncIterator[Checked]:
    """The checked rows in blocks of about `_BLOCK` bytes; others are served between two pieces."""
    waiting: list[Checked] = []
    size = 0
    for piece in found:
        checked = schema.check(piece)
        waiting.append(checked)
        size += len(checked.rows)
        if size >= _BLOCK:
            yield _merged(waiting)
            waiting, size = [], 0
        if len(piece.json) >= PIECE // 2:
            await asyncio.sleep(0)
    if waiting:
        yield _merged(waiting)


def _merged(checked: list[Checked]) -> Checked:
    if len(checked) == 1:
        return checked[0]
    rows = b"".join(c.rows for c in checked)
    return Checked(rows, sum(c.count for c in checked), [row for c in checked for row in c.bad])


async def _all(inserts: list[Awaitable[list[Refused]]]) -> list[Refused]:
    """What all of them refused; the first error once all have ended."""
    if len(inserts) == 1:
        return await inserts[0]
    found = await asyncio.gather(*inserts, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [refused for each in found if not isinstance(each, BaseException) for refused in each]


def _quarantined(bad: list[BadRow], request_id: str) -> bytes:
    return _encoder.encode_lines([{"request_id": request_id, **msgspec.structs.asdict(row)} for row in bad])
