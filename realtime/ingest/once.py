"""Requests with an Idempotency-Key: each row of theirs is stored once, however often and whenever they come.

A key stands for one body. What came of it is recorded before the answer, and the record answers whoever comes later. A
request that was begun and is not finished is finished first, by the declaration of the source that it began with: its
batches are the same then, and the landing table says which of them are in. Where the source is declared otherwise by
now, the rows that did not fit before are taken, and no others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from realtime.errors import KeyReusedError
from realtime.ingest.batch import Batch, number_of
from realtime.ingest.piece import Piece
from realtime.ingest.records import Name, Record, Records, restored
from realtime.ingest.request import Request, Source, Stored, Taken
from realtime.ingest.writer import Writer
from realtime.planner.ir import SourceSpec

_IN_THREAD = 2**20  # bytes from which on a body is hashed beside the event loop

Read = Callable[[], Iterator[Piece]]
Store = Callable[[Request, Iterator[Piece]], Awaitable[Stored]]


class Once:
    """``store`` stores the rows of a request, as often as it is called; ``cut`` gives the last cut-over of a
    source's landing table."""

    def __init__(
        self, writer: Writer, database: str, store: Store, cut: Callable[[SourceSpec], Awaitable[int]]
    ) -> None:
        self._records = Records(writer, database)
        self._store = store
        self._cut = cut
        self._running: dict[Name, asyncio.Task[Taken]] = {}

    async def take(self, request: Request, body: bytes, read: Read) -> Taken:
        """Stores the rows of ``body``, which ``read`` gives, if they are not. KeyReusedError where the key stands for
        another body.

        Requests of one key wait for each other; one whose caller leaves goes on, so that the others keep its rows.
        """
        name = Name(request.source.spec.name, request.method, request.key)
        while running := self._running.get(name):
            await asyncio.wait([running])
        task = asyncio.create_task(self._take(name, request, body, read))
        self._running[name] = task
        task.add_done_callback(lambda _: self._running.pop(name, None))
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Returns when nothing is under way any more."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._records.drain()

    async def _take(self, name: Name, request: Request, body: bytes, read: Read) -> Taken:
        found = read()  # a body that can't be read uses no key up
        digest = await asyncio.to_thread(_digest, body) if len(body) >= _IN_THREAD else _digest(body)
        cut = await self._cut(request.source.spec)  # before it is seen that no other server has begun with it
        record, now = await self._records.find(name, request.source.spec.whole)
        if record is not None and record.body != digest:
            raise _reused(name)
        resumed = record is not None
        if record is None:
            record = Record(body=digest, declaration=request.source.declaration, began=now)
            await self._records.save(name, record)
        if not record.done:
            batch = _batch(name, record, resumed, cut)
            record = await self._finish(name, request, record, found, batch)
        if record.declaration != request.source.declaration:
            record = await self._widen(name, request, record, read())
        return Taken(record.successful_rows, record.quarantined_rows)

    async def _finish(
        self, name: Name, request: Request, record: Record, found: Iterator[Piece], batch: Batch
    ) -> Record:
        source = request.source
        if record.declaration != source.declaration:
            source = Source(restored(record.declaration))
        stored = await self._store(msgspec.structs.replace(request, source=source, batch=batch), found)
        return await self._done(name, record, stored)

    async def _widen(self, name: Name, request: Request, record: Record, found: Iterator[Piece]) -> Record:
        """Takes the rows that did not fit by the declaration of ``record``."""
        before = Taken(record.successful_rows, record.quarantined_rows - len(record.refused))
        stored = Stored(Taken(0, 0), ())
        if record.refused:
            # Another server may have begun with this and died: no record says so.
            batch = _batch(name, record, True).part(request.source.declaration)
            only = frozenset(record.refused)
            stored = await self._store(msgspec.structs.replace(request, batch=batch, only=only), found)
        taken = Taken(
            before.successful_rows + stored.taken.successful_rows,
            before.quarantined_rows + stored.taken.quarantined_rows,
        )
        changed = msgspec.structs.replace(record, declaration=request.source.declaration)
        return await self._done(name, changed, Stored(taken, stored.refused))

    async def _done(self, name: Name, record: Record, stored: Stored) -> Record:
        done = msgspec.structs.replace(
            record,
            done=True,
            successful_rows=stored.taken.successful_rows,
            quarantined_rows=stored.taken.quarantined_rows,
            refused=stored.refused,
        )
        await self._records.save(name, done)
        return done


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _batch(name: Name, record: Record, resumed: bool, cut: int | None = None) -> Batch:
    """The body is part of it: where two servers are sent different ones at a time, both are stored."""
    number = number_of(name.source, name.method, name.key, record.body)
    return Batch(number, record.began, resumed, cut)


def _reused(name: Name) -> KeyReusedError:
    return KeyReusedError(
        f"Idempotency-Key {name.key!r} stands for another body, which source {name.source} was sent before; "
        "none of these rows was stored",
        remedy="send these rows with a key of their own; a key is for sending the same body again",
    )
