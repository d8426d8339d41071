"""Taking rows for sources: checked, stored, and answered once they are on disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator

import msgspec

from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError, NotFoundError
from realtime.ingest.bodies import PIECE, Piece, decompressed, pieces, too_large
from realtime.ingest.committer import Refused, Table
from realtime.ingest.reasons import BadRow
from realtime.ingest.room import Room, Share
from realtime.ingest.schema import Checked, Schema
from realtime.ingest.writer import Writer
from realtime.planner.ir import Plan, SourceSpec
from realtime.settings import Settings

_BLOCK = 8 * 2**20  # bytes of one request that go into one insert
_IN_THREAD = 2**18  # compressed bodies from this size on are read beside the event loop
_MIB = 2**20
_encoder = msgspec.json.Encoder()


class Taken(msgspec.Struct, frozen=True):
    """What became of a request's rows. Each is in the landing table or in quarantine, on disk."""

    successful_rows: int
    quarantined_rows: int


class Limits(msgspec.Struct, frozen=True):
    """``gap`` in seconds between two inserts into one table; ``body`` and ``waiting`` in bytes: of one body
    after decompression, and of all that is held at once."""

    gap: float = 0.02
    body: int = 64 * _MIB
    waiting: int = 256 * _MIB

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As set in the environment."""
        return cls(
            gap=settings.number("DUET_INGEST_GAP_MS") / 1000,
            body=settings.number("DUET_MAX_BODY_MB") * _MIB,
            waiting=settings.number("DUET_INGEST_QUEUE_MB") * _MIB,
        )


class _Source:
    """What one source of a plan needs: its checks and how its rows and refused rows are inserted."""

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self.schema = Schema(spec)
        self.deletes = Schema(spec, deletes=True) if spec.deleted else None
        self.quarantine = f"INSERT INTO {spec.quarantine} (request_id, row, columns, reasons) FORMAT JSONEachRow"


class Intake:
    """Takes rows for the sources of ``plan`` into ``endpoint``; used within one event loop."""

    def __init__(self, endpoint: Endpoint, plan: Plan | None = None, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.room = Room(self.limits.waiting)
        self.writer = Writer(endpoint)
        self._sources: dict[str, _Source] = {}
        self._tables: dict[str, Table] = {}
        self._running: dict[str, asyncio.Task[Taken]] = {}
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
        delete: bool = False,
        share: Share | None = None,
    ) -> Taken:
        """Stores the rows of ``body``: NDJSON, or a JSON array. Rows that don't fit go to quarantine with reasons.

        With ``idempotency_key`` the rows are stored at most once, however often the request comes, also after a
        restart: ClickHouse remembers the last 10,000 inserts into a table. With ``delete`` the rows hold key and
        version of what is deleted from an upserted source. ``share`` is the caller's, if it has one.

        NotFoundError for an unknown source; BadRequestError for a body that can't be read; OverloadedError where
        too much waits already; UnavailableError where ClickHouse does not take the rows.
        """
        known = self._source(source)
        schema = _deletes(known) if delete else known.schema
        token = _token(known.spec, idempotency_key, delete)
        with contextlib.ExitStack() as stack:
            share = share or stack.enter_context(self.room.share())
            request = _Request(known, schema, token, request_id, share)
            if not token:
                return await self._take(request, body, content_type, encoding)
            running = self._running.get(token)
            if running is None:
                running = asyncio.create_task(self._take(request, body, content_type, encoding))
                self._running[token] = running
                running.add_done_callback(lambda _: self._running.pop(token, None))
            return await asyncio.shield(running)  # a caller that leaves does not take the other one's rows along

    async def read(self, chunks: AsyncIterable[bytes], share: Share) -> bytes:
        """A request's body as it was sent. BadRequestError where it is too long; OverloadedError where ``share``
        can't hold it."""
        body = bytearray()
        async for chunk in chunks:
            share.add(len(chunk))
            body += chunk
            if len(body) > self.limits.body:
                raise too_large(self.limits.body)
        return bytes(body)

    async def update(self, plan: Plan | None) -> None:
        """Takes rows for the sources of ``plan`` from now on; requests that are under way end as they began."""
        self._plan(plan)

    async def close(self) -> None:
        """Returns when all that was taken is stored."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        for table in list(self._tables.values()):
            await table.drain()
        await self.writer.close()

    def _plan(self, plan: Plan | None) -> None:
        sources = plan.sources if plan else ()
        self._sources = {
            s.name: old if (old := self._sources.get(s.name)) and old.spec == s else _Source(s) for s in sources
        }

    def _source(self, name: str) -> _Source:
        found = self._sources.get(name)
        if found is None:
            known = ", ".join(sorted(self._sources))
            raise NotFoundError(
                f"no source {name!r}",
                remedy=f"known sources are {known}" if known else "deploy a project with sources: duet deploy",
            )
        return found

    def _table(self, relation: str) -> Table:
        if relation not in self._tables:
            self._tables[relation] = Table(self.writer, self.limits.gap)
        return self._tables[relation]

    async def _take(self, request: _Request, body: bytes, content_type: str, encoding: str) -> Taken:
        if len(body) >= _IN_THREAD and encoding:
            body = await asyncio.to_thread(decompressed, body, encoding, self.limits.body)
        else:
            body = decompressed(body, encoding, self.limits.body)
        if encoding:
            request.share.add(len(body))
        return await self._store(request, pieces(body, content_type.lower()))

    async def _store(self, request: _Request, found: Iterator[Piece]) -> Taken:
        spec = request.source.spec
        landing, quarantine = self._table(spec.landing), self._table(spec.quarantine)
        inserts: list[asyncio.Future[list[Refused]]] = []
        bad: list[BadRow] = []
        total = 0
        async for block in _blocks(request.schema, found):
            request.share.add(len(block.rows))
            bad += block.bad
            total += block.count
            if block.count:
                token = request.part(len(inserts))
                put = landing.put(request.schema.insert, block.rows, block.count, token)
                inserts.append(asyncio.ensure_future(put))
        refused = await _all(inserts)
        bad += [BadRow(r.row.decode(), (), (r.reason,)) for r in refused]
        if bad:
            rows = _quarantined(bad, request.id)
            await quarantine.put(request.source.quarantine, rows, len(bad), request.part("q"))
        return Taken(total - len(refused), len(bad))


class _Request(msgspec.Struct, frozen=True):
    """``token`` is empty for a request without a key."""

    source: _Source
    schema: Schema
    token: str
    id: str
    share: Share

    def part(self, name: object) -> str:
        """The deduplication token of one of its inserts: the same whenever the request comes."""
        return f"{self.token}-{name}" if self.token else ""


async def _blocks(schema: Schema, found: Iterator[Piece]) -> AsyncIterator[Checked]:
    """The checked rows in blocks of about `_BLOCK` bytes; others are served between two pieces."""
    waiting: list[Checked] = []
    size = 0
    for piece, rows in found:
        checked = schema.check(piece, rows)
        waiting.append(checked)
        size += len(checked.rows)
        if size >= _BLOCK:
            yield _merged(waiting)
            waiting, size = [], 0
        if len(piece) >= PIECE // 2:
            await asyncio.sleep(0)
    if waiting:
        yield _merged(waiting)


def _merged(checked: list[Checked]) -> Checked:
    if len(checked) == 1:
        return checked[0]
    rows = b"".join(c.rows for c in checked)
    return Checked(rows, sum(c.count for c in checked), [row for c in checked for row in c.bad])


async def _all(inserts: list[asyncio.Future[list[Refused]]]) -> list[Refused]:
    """What all of them refused; the first error once all have ended."""
    if len(inserts) == 1:
        return await inserts[0]
    found = await asyncio.gather(*inserts, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [refused for each in found if not isinstance(each, BaseException) for refused in each]


def _deletes(source: _Source) -> Schema:
    if source.deletes is None:
        upserted = source.spec.mode == "upsert"
        raise BadRequestError(
            f"rows can't be deleted from source {source.spec.name}: it "
            + ("declares no column for deletions" if upserted else "takes appended rows only"),
            remedy="declare meta.realtime with mode: upsert, key, version and deleted, and deploy",
        )
    return source.deletes


def _token(source: SourceSpec, key: str, delete: bool) -> str:
    if not key:
        return ""
    return hashlib.sha256(f"{source.name}\0{'delete' if delete else 'post'}\0{key}".encode()).hexdigest()[:32]


def _quarantined(bad: list[BadRow], request_id: str) -> bytes:
    rows = [{"request_id": request_id, "row": b.row, "columns": b.columns, "reasons": b.reasons} for b in bad]
    return _encoder.encode_lines(rows)
