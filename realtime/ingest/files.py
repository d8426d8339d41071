"""Loading files through the running server: `duet ingest`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from realtime.errors import BadRequestError, DuetError, NotFoundError, UnavailableError
from realtime.ingest.readers import ROWS_A_REQUEST, Batch, Rows, rows_of
from realtime.ingest.request import Taken
from realtime.planner.ir import Plan, SourceSpec
from realtime.serving.client import bearer

__all__ = ["ROWS_A_REQUEST", "Loaded", "load", "send", "source_of"]

_AT_ONCE = 8  # half of them wait for inserts, half for the records of theirs
_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds before each retry while the server is not there
_PATIENCE = 300.0  # seconds of retries while the server is there and busy
_ERRORS: dict[int, type[DuetError]] = {400: BadRequestError, 404: NotFoundError}


class Loaded(msgspec.Struct, frozen=True):
    """What became of a load's rows. ``places`` says which rows of which file hold those in quarantine."""

    successful_rows: int
    quarantined_rows: int
    seconds: float
    places: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Rows a second."""
        return (self.successful_rows + self.quarantined_rows) / self.seconds if self.seconds else 0.0


def source_of(plan: Plan, name: str) -> SourceSpec:
    """The source ``name`` of ``plan``; NotFoundError listing what there is."""
    found = next((s for s in plan.sources if s.name == name), None)
    if found is None:
        known = ", ".join(sorted(s.name for s in plan.sources))
        raise NotFoundError(f"no source {name!r}", remedy=f"known sources are {known}" if known else "declare one")
    return found


def load(
    url: str, source: SourceSpec, files: Sequence[Path], progress: Callable[[int, int], None], token: str = ""
) -> Loaded:
    """Sends the rows of ``files`` to the server at ``url`` and returns when all are on disk.

    Each batch carries an Idempotency-Key made of the file's path, the batch's place in it and its rows: a load that
    was interrupted, or is repeated, counts each row once, for the days that requests are remembered (see `records`).
    For that the file must be unchanged: where it has grown, its last batch has other rows than before, and those that
    were in it count again. ``progress`` is called with the rows done and those there are.

    BadRequestError naming file and line for a file that can't be read; UnavailableError where the server does not
    answer; what the server refuses, with the rows of the file in front.
    """
    return send(url, source, [(path, rows_of(path, source)) for path in files], progress, token)


def send(
    url: str,
    source: SourceSpec,
    readable: Sequence[tuple[Path, Rows]],
    progress: Callable[[int, int], None],
    token: str = "",
) -> Loaded:
    """Sends rows that are read already; their path is a name that tells them from others. Else as `load` does."""
    return asyncio.run(_Load(url, source, sum(rows.total for _, rows in readable), progress, token).run(readable))


class _Load:
    def __init__(
        self, url: str, source: SourceSpec, total: int, progress: Callable[[int, int], None], token: str
    ) -> None:
        self._url = f"{url}/v1/events/{source.name}"
        self._source = source.name
        self._headers = bearer(token)
        self._total = total
        self._progress = progress
        self._done = self._good = self._bad = 0
        self._places: list[str] = []

    async def run(self, files: Sequence[tuple[Path, Rows]]) -> Loaded:
        begin = time.monotonic()
        self._progress(0, self._total)
        batches = _numbered(files)
        async with aiohttp.ClientSession(headers=self._headers) as session:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(_AT_ONCE):
                        group.create_task(self._sender(session, batches))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return Loaded(self._good, self._bad, time.monotonic() - begin, tuple(self._places))

    async def _sender(self, session: aiohttp.ClientSession, batches: Iterator[tuple[Path, Batch, str]]) -> None:
        for path, batch, kind in batches:  # reading is much faster than sending, so it may hold the loop
            place = f"{path}: rows {batch.first}-{batch.last}"
            headers = {"Content-Type": kind, "Idempotency-Key": _key(self._source, path, batch)}
            taken = await self._send(session, batch.body, headers, place)
            self._done += batch.rows
            self._good += taken.successful_rows
            self._bad += taken.quarantined_rows
            if taken.quarantined_rows:
                self._places.append(f"{place}: {taken.quarantined_rows} in quarantine")
            self._progress(self._done, self._total)

    async def _send(self, session: aiohttp.ClientSession, body: bytes, headers: Mapping[str, str], place: str) -> Taken:
        begin = time.monotonic()
        tries = iter(_PAUSES)
        while True:
            try:
                async with session.post(self._url, data=body, headers=headers) as answer:
                    content = await answer.read()
                    if answer.status == 200:
                        return msgspec.json.decode(content, type=Taken)
                    problem: DuetError = _refused(answer.status, content, place)
                    wait = _wait(answer.headers.get("Retry-After", "1")) if answer.status == 429 else None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem, wait = _gone(self._url, place, error), None
            if not isinstance(problem, UnavailableError):
                raise problem
            if wait is None:
                wait = next(tries, None)
            if wait is None or time.monotonic() - begin > _PATIENCE:
                raise problem
            await asyncio.sleep(wait)


def _numbered(files: Sequence[tuple[Path, Rows]]) -> Iterator[tuple[Path, Batch, str]]:
    for path, rows in files:
        for batch in rows.batches():
            yield path, batch, rows.content_type


def _key(source: str, path: Path, batch: Batch) -> str:
    """Other rows, another place or another file make another key."""
    content = hashlib.sha256(batch.body).hexdigest()
    return hashlib.sha256(f"{source}\0{path.resolve()}\0{batch.first}\0{content}".encode()).hexdigest()


def _wait(header: str) -> float:
    return min(float(header), 30.0) if header.replace(".", "", 1).isdigit() else 1.0


def _refused(status: int, content: bytes, place: str) -> DuetError:
    try:
        error: dict[str, Any] = msgspec.json.decode(content)["error"]
        message, remedy = str(error["message"]), str((error.get("details") or {}).get("remedy", ""))
    except (msgspec.DecodeError, KeyError, TypeError):
        message, remedy = f"status {status}", "see the server's log"
    kind = _ERRORS.get(status, UnavailableError if status in (429, 502, 503, 504) else BadRequestError)
    return kind(f"{place}: {message}", remedy=remedy)


def _gone(url: str, place: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"{place}: the server at {url} does not answer: {str(error) or type(error).__name__}",
        remedy="start it (duet up) and load again: rows that are in count once",
    )
