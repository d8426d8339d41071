"""What has landed and not reached the views is sent on, without its sender's help.

An insert that is under way when ClickHouse is killed can be in the landing table and in none of its views, or in some.
Who sent it may have gone too, or have no key to send it again with. So each server, when it starts and whenever it sees
that ClickHouse was started anew, has the batches that landed last before that sent on; the views drop what they have.
Inserts wait for that: what lacks is then what landed last, also where ClickHouse is killed again before all is done.
And where a server gave a batch up (the disk was full, the network was cut), it goes on asking what became of it.

A deploy that was killed while it made a landing table anew may have left it closed: each server looks, and opens it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import msgspec

from realtime.clickhouse.endpoint import Endpoint
from realtime.emit.landing import IS_BESIDE, IS_CLOSED, open_landing
from realtime.errors import SourceError, UnavailableError
from realtime.ingest.landed import KNOWN, Landing
from realtime.ingest.writer import Writer
from realtime.planner.ir import SourceSpec

_LOG = logging.getLogger("duet.ingest")
_EVERY = 1.0
_AWAY = 0.1  # seconds between two looks for a ClickHouse that is away
_PATIENCE = 5.0
_HOUR = 3600
_DEADLINE = 60.0
_LOST = "the connection to ClickHouse was lost, and what it was stopped in is sent on first"
_SECOND = 1_000_000
# Of a cluster the server that was started last.
_ASK = (
    "SELECT min(up) AS uptime, toUnixTimestamp64Micro(now64(6, 'UTC')) AS now "
    "FROM (SELECT uptime() AS up FROM {servers}) "
    "SETTINGS skip_unavailable_shards = 1 FORMAT JSONEachRow"
)


_RELATION = "SELECT concat(database, '.', name) AS relation FROM system.tables WHERE database = {database:String}"
_CLOSED = f"{_RELATION} AND {IS_CLOSED} FORMAT JSONEachRow"
_BESIDE = f"{_RELATION} AND {IS_BESIDE} FORMAT JSONEachRow"


class _Name(msgspec.Struct):
    relation: str


class _Answer(msgspec.Struct):
    uptime: int
    now: int

    @property
    def started(self) -> int:
        return self.now - self.uptime * _SECOND


def send_on_last(endpoint: Endpoint, source: SourceSpec) -> None:
    """Sends what landed last of ``source`` on to its views. SourceError where one does not take it."""
    asyncio.run(_send_on_last(endpoint, source))


async def _send_on_last(endpoint: Endpoint, source: SourceSpec) -> None:
    writer = Writer(endpoint)
    try:
        landing = Landing(writer, source)
        (answer,) = await writer.read(_ASK.format(servers=writer.everywhere("system.one")), {}, _Answer)
        await landing.recover(answer.now, KNOWN, _HOUR)
        async with asyncio.timeout(_DEADLINE):
            while not await landing.settle():
                await asyncio.sleep(_AWAY)
    except TimeoutError:
        raise SourceError(
            f"source {source.name}: rows that have landed are not in all of its views after {_DEADLINE:.0f} s",
            remedy="deploy again when inserts go through",
        ) from None
    finally:
        await writer.close()
    if landing.lacking:
        error = landing.lacking[0]
        raise SourceError(
            f"source {source.name}: {error.view} lacks rows that have landed, and would for ever: {error.reason}",
            remedy="mend the view, send the rows again with their Idempotency-Key, and deploy again",
        )


class Recovery:
    """Watches the server of ``writer`` for the landing tables that `watch` was given last."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._landings: tuple[Landing, ...] = ()
        self._database = ""
        self._before: _Answer | None = None
        self._waits = "ClickHouse was not asked yet"
        self._task: asyncio.Task[None] | None = None

    def watch(self, database: str, landings: Sequence[Landing]) -> None:
        """Watches for ``landings``, of the project in ``database``, from now on."""
        self._database, self._landings = database, tuple(landings)
        if self._task is None and landings:
            self._task = asyncio.create_task(self._run())

    def waits(self) -> str:
        """Why no insert may begin yet; empty where one may."""
        if self._task is None:
            return ""
        return _LOST if self._writer.lost.is_set() else self._waits

    async def close(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            if self._writer.lost.is_set():
                self._writer.lost.clear()
                self._waits = _LOST
            try:
                await self._look()
            except (UnavailableError, TimeoutError) as error:
                _LOG.debug("recovery waits: %s", error)
                if self._waits:  # whoever has to wait is told why
                    cause = error.message if isinstance(error, UnavailableError) else "ClickHouse does not answer"
                    self._waits = f"{_LOST}: {cause}"
                await asyncio.sleep(_AWAY)
            except Exception:
                _LOG.exception("what ClickHouse was stopped in can't be sent on")
                await asyncio.sleep(_EVERY)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._writer.lost.wait(), _EVERY)

    async def _look(self) -> None:
        asked = _ASK.format(servers=self._writer.everywhere("system.one"))
        async with asyncio.timeout(_PATIENCE):
            (answer,) = await self._writer.read(asked, {}, _Answer, pauses=())
        if self._before is None or _is_new(answer, self._before):
            self._waits = "ClickHouse was started, and what it was stopped in is sent on first"
            used = [landing for landing in self._landings if await landing.is_used_since(answer.started)]
            for landing in self._landings:
                if landing not in used:
                    await self._recover(landing, answer)
            self._waits = ""  # whoever has inserted since has waited for the same
            for landing in used:
                await self._recover(landing, answer)
        self._before, self._waits = answer, ""
        for landing in self._landings:
            await landing.settle()
        await self._reopen()

    async def _recover(self, landing: Landing, answer: _Answer) -> None:
        if count := await landing.recover(answer.started):
            _LOG.info("ClickHouse was started: %d batches of %s sent on to its views", count, landing.relation)

    async def _reopen(self) -> None:
        """Undoes what a deploy was killed in that had closed a table; the next deploy begins it again."""
        raw = {"database": f"{self._database}_raw"}
        closed = await self._writer.read(_CLOSED, raw, _Name)
        if not closed:
            return
        # With the lock of deploys: none runs, and none begins.
        async with self._writer.held(f"duet-deploy-{self._database}"):
            for beside in await self._writer.read(_BESIDE, raw, _Name):
                await self._writer.execute(f"DROP TABLE IF EXISTS {beside.relation} SYNC")
            for table in await self._writer.read(_CLOSED, raw, _Name):
                await self._writer.execute(open_landing(table.relation))
                _LOG.warning("%s takes rows again: a deploy was killed while it made it anew", table.relation)


def _is_new(answer: _Answer, before: _Answer) -> bool:
    """Whether ClickHouse was started between the two; a clock that was set looks the same and does no harm."""
    return answer.uptime < before.uptime or abs(answer.started - before.started) > 1.5 * _SECOND
