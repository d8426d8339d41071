"""What landed of a batch, asked of the landing table: how an insert whose outcome is not known is finished.

An insert is whole in one partition and can be missing in another, and it reaches the views once all of its partitions
are in: so what landed is sent on to the views as it landed, and what did not land is another batch.

Sending on is an insert of the very rows, with their moment, their batch's number and its token. ClickHouse drops them
from the landing table; each view that has them drops them too, by the token; and the view of a state that a deploy has
made since takes rows by their moment, so that it leaves them to the backfill, which has them. Sent again as new ones
they would count twice there: ClickHouse pushes rows that it drops from a table into all of the table's views.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import secrets
from collections.abc import Callable, Mapping

import aiohttp
import msgspec

from realtime.emit.landing import BATCH_ID, HIDDEN, INGESTED_AT
from realtime.emit.names import literal, quoted
from realtime.ingest.batch import Batch
from realtime.ingest.writer import MissingError, RowsRefusedError, TroubleError, Writer
from realtime.planner.ir import SourceSpec

_LOG = logging.getLogger("duet.ingest")
KNOWN = 1_000
"""Batches after which the views may have forgotten a token: they know 10,000, and a batch may be in ten partitions."""
_DAYS = 30
_AT_ONCE = 4
_TAIL = 32  # batches that may have been under way when ClickHouse was killed
_SECOND = 1_000_000
_PATIENCE = 60.0

_CUT = f"""
SELECT toInt64OrZero(comment) AS number FROM system.columns
WHERE database = {{database:String}} AND table = {{table:String}} AND name = '{INGESTED_AT}' FORMAT JSONEachRow"""
_FORGOTTEN = _CUT.replace(f"'{INGESTED_AT}'", f"'{BATCH_ID}'")
# A server of a cluster that is away runs nothing.
_RUNNING = (
    "SELECT count() AS number FROM %s WHERE initial_query_id = {id:String} "
    "SETTINGS skip_unavailable_shards = 1 FORMAT JSONEachRow"
)
_LANDING = "{database:Identifier}.{table:Identifier}"
# A day more, for clocks that were set back meanwhile.
_OF_BATCH = f"""
{BATCH_ID} = {{batch:UInt64}} AND {INGESTED_AT} >= least(now64(6, 'UTC'),
  fromUnixTimestamp64Micro({{began:Int64}}, 'UTC')) - INTERVAL 1 DAY"""
_FOUND = f"""
SELECT count() AS rows, toUnixTimestamp64Micro(min({INGESTED_AT})) AS moment FROM {_LANDING}
WHERE {_OF_BATCH} FORMAT JSONEachRow"""
_ROWS = f"SELECT * FROM {_LANDING} WHERE {_OF_BATCH} FORMAT RowBinaryWithNamesAndTypes"
_MOMENT = "fromUnixTimestamp64Micro({moment:Int64}, 'UTC')"
_SINCE = f"""
SELECT count() AS number FROM (
  SELECT DISTINCT {BATCH_ID} FROM {_LANDING} WHERE {INGESTED_AT} > {_MOMENT} AND {BATCH_ID} != 0 LIMIT {{most:UInt32}}
) FORMAT JSONEachRow"""
# When ClickHouse was started is known to a second, and what came since is told apart from what came before by that.
_BEFORE = f"""
SELECT number FROM (
  SELECT {BATCH_ID} AS number, max({INGESTED_AT}) AS landed, landed > {_MOMENT} - INTERVAL 2 SECOND AS amid,
    row_number() OVER (PARTITION BY amid ORDER BY landed DESC) AS nth
  FROM {_LANDING}
  WHERE {BATCH_ID} != 0 AND {INGESTED_AT} <= {_MOMENT} AND {INGESTED_AT} >= (
    SELECT max({INGESTED_AT}) FROM {_LANDING} WHERE {INGESTED_AT} BETWEEN {_MOMENT} - INTERVAL {_DAYS} DAY AND {_MOMENT}
  ) - toIntervalSecond({{seconds:UInt32}})
  GROUP BY number
)
WHERE amid OR nth <= {{tail:UInt32}} ORDER BY landed FORMAT JSONEachRow"""
_TABLE = """
SELECT partition_key AS partitioned, length(dependencies_table) AS views, (
  SELECT groupArray((name, type)) FROM system.columns WHERE database = {database:String} AND table = {table:String}
) AS columns
FROM system.tables WHERE database = {database:String} AND name = {table:String} FORMAT JSONEachRow"""
# The places of rows in partitions of which nothing landed; the rows stand between the two, and `key` is an expression.
# On a cluster each shard has partitions of its own.
_REST = f"""
place FROM (
  SELECT rowNumberInAllBlocks() AS place, tuple(<key>) AS partition FROM (
    SELECT *, {_MOMENT} AS {INGESTED_AT}, {{batch:UInt64}} AS {BATCH_ID}
    FROM format(JSONEachRow, {{structure:String}}, """
_REST_END = f""")
  )
) WHERE partition NOT IN (SELECT DISTINCT tuple(<there>) FROM {_LANDING} WHERE {_OF_BATCH})
ORDER BY place FORMAT JSONEachRow"""


class Found(msgspec.Struct, frozen=True):
    """How many rows of a batch are in the landing table, and their moment in microseconds; 0 where there is none."""

    rows: int
    moment: int


class _Number(msgspec.Struct):
    number: int


class _Place(msgspec.Struct):
    place: int


class _Table(msgspec.Struct):
    partitioned: str
    views: int
    columns: list[tuple[str, str]]


# The shard of a row, as a Distributed table finds it: by the remainder of its hash, in spans of their weights.
_SHARD = (
    "arrayFirstIndex(upto -> upto > cityHash64(tuple({by})) % arraySum(weights), arrayCumSum(({weights}) AS weights))"
)
_WEIGHTS = (
    "SELECT arrayMap(shard -> shard.2, arraySort(groupUniqArray((shard_num, shard_weight)))) FROM system.clusters "
    "WHERE cluster = {cluster}"
)


class Landing:
    """The landing table of ``source``: on a cluster that of all shards. ``waits`` tells why it takes no insert yet (see
    `Recovery.waits`). ``lacking`` are the errors of views that did not take what was to be sent on."""

    def __init__(self, writer: Writer, source: SourceSpec, waits: Callable[[], str] = str) -> None:
        self.relation = source.whole
        self._writer = writer
        self._waits = waits
        self._shards = source.shards
        database, _, table = source.whole.partition(".")
        self._names = {"database": database, "table": table}
        self._stored = {"database": database, "table": source.landing.partition(".")[2]}
        self.lacking: list[RowsRefusedError] = []
        self._given_up: dict[int, Batch] = {}
        self._cut: int | None = None

    async def cut(self, *, again: bool = False) -> int:
        """The last cut-over of the table, as far as it is known here; ``again`` asks.

        Whoever inserts says it (see `realtime.emit.landing.keep_after`). It has to be taken before it is made sure
        that the rows have not landed: what landed since then and before another cut-over is not inserted again so.
        """
        if self._cut is None or again:
            found = await self._writer.read(_CUT, self._names, _Number)
            self._cut = max((each.number for each in found), default=0)
        return self._cut

    def check(self) -> None:
        """TroubleError where it takes no insert yet."""
        if reason := self._waits():
            raise TroubleError(reason)

    async def find(self, batch: Batch) -> Found:
        """What landed of ``batch``. TroubleError while its insert is running: then it is not known yet."""
        if await self._number(_RUNNING % self._writer.everywhere("system.processes"), {"id": batch.id}):
            raise TroubleError("an earlier try of the same insert is still running")
        (found,) = await self._writer.read(_FOUND, self._named(batch), Found)
        return found

    async def send_on(self, batch: Batch, found: Found) -> None:
        """Sends what landed of ``batch`` on to the views: each takes it if it has none of it.

        RowsRefusedError naming the view that throws. A batch that later ones have made the views forget is left as it
        is: it went to them when it landed, or after ClickHouse was started again (`recover`). So is one that a deploy
        has seen there, before tokens were forgotten (see `realtime.emit.landing.forget_tokens`).
        """
        if await self._since(found.moment, KNOWN + 1) > KNOWN:
            return
        forgotten = await self._writer.read(_FORGOTTEN, self._stored, _Number)
        if found.moment < max((each.number for each in forgotten), default=0):
            return
        rows = await self._writer.fetch(_ROWS, self._named(batch))
        await self._writer.post(f"INSERT INTO {self.relation} FORMAT RowBinaryWithNamesAndTypes", rows, batch.id)

    async def missing(self, batch: Batch, found: Found, rows: bytes) -> list[int]:
        """The places of those ``rows``, JSON lines, that are in partitions of which nothing landed."""
        table = await self._table()
        keys = self._keys(table.partitioned)
        if keys is None:
            return []
        structure = ", ".join(f"{quoted(name)} {kind}" for name, kind in table.columns if name not in HIDDEN)
        parameters = {**self._named(batch), "moment": str(found.moment), "structure": structure}
        quote = f"$rows{secrets.token_hex(16)}$".encode()
        start, end = _REST.replace("<key>", keys[0]).encode(), _REST_END.replace("<there>", keys[1]).encode()
        query = b"".join((start, quote, rows, quote, end))
        return [each.place for each in await self._writer.read("SELECT", parameters, _Place, query)]

    def _keys(self, partitioned: str) -> tuple[str, str] | None:
        """What names the part of a batch that lands as a whole, of a row that comes and of one that is there; None
        where that is all of it."""
        if self._shards is msgspec.UNSET:
            return (partitioned, partitioned) if partitioned else None
        weights = _WEIGHTS.format(cluster=literal(self._shards.cluster))
        shard = _SHARD.format(by=", ".join(map(quoted, self._shards.by)), weights=weights)
        return f"{partitioned or '0'}, {shard}", f"{partitioned or '0'}, _shard_num"

    async def is_used_since(self, started: int) -> bool:
        """Whether batches landed since ClickHouse was ``started`` (its time in microseconds)."""
        try:
            return bool(await self._since(started + _SECOND, 1))
        except MissingError:
            return False

    async def recover(self, started: int, tail: int = _TAIL, seconds: int = 10) -> int:
        """Sends the batches on that landed last before ClickHouse was ``started`` (its time in microseconds): those
        that were under way when it was killed may have landed and not reached the views. Returns their number; it is
        about ``tail``, of the last ``seconds`` in which some landed.

        Only what the views still know by its token is sent; nothing where ClickHouse has run for long.
        """
        until = {**self._names, "moment": str(started + _SECOND), "tail": str(tail), "seconds": str(seconds)}
        try:
            if not (await self._table()).views or await self._since(started + _SECOND, KNOWN + 1) > KNOWN:
                return 0
        except MissingError:
            return 0
        numbers = [each.number for each in await self._writer.read(_BEFORE, until, _Number)]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def send(batch: Batch) -> None:
            async with turns:
                if not await self._settled(batch):
                    self.give_up(batch)

        began = started - _DAYS * 86_400 * _SECOND
        await asyncio.gather(*(send(Batch(number, began=began)) for number in numbers))
        return len(numbers)

    def give_up(self, batch: Batch) -> None:
        """Remembers a batch of which it is not known what became; `settle` finds out."""
        if len(self._given_up) < KNOWN:
            self._given_up[batch.number] = batch

    async def settle(self) -> bool:
        """Sends on what landed of the batches that were given up; whether none is left. UnavailableError where it can't
        be asked."""
        for batch in list(self._given_up.values()):
            if self._writer.lost.is_set():
                break
            if await self._settled(batch):
                del self._given_up[batch.number]
        return not self._given_up

    async def _settled(self, batch: Batch) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                if (found := await self.find(batch)).rows:
                    await self.send_on(batch, found)
        except (TroubleError, aiohttp.ClientError, TimeoutError, OSError):
            return False
        except RowsRefusedError as error:
            _LOG.warning("batch %d of %s: %s has none of it: %s", batch.number, self.relation, error.view, error)
            self.lacking = [*self.lacking[:_TAIL], error]
        return True

    async def _table(self) -> _Table:
        found = await self._writer.read(_TABLE, self._stored, _Table)
        if not found:
            raise MissingError(f"{self.relation} is not there", remedy="deploy the project: duet deploy")
        return found[0]

    async def _since(self, moment: int, most: int) -> int:
        """How many batches landed after ``moment``, counted up to ``most``."""
        return await self._number(_SINCE, {**self._names, "moment": str(moment), "most": str(most)})

    async def _number(self, query: str, parameters: Mapping[str, str]) -> int:
        return (await self._writer.read(query, parameters, _Number))[0].number

    def _named(self, batch: Batch) -> dict[str, str]:
        began = 2**62 if batch.began is None else batch.began
        return {**self._names, "batch": str(batch.number), "began": str(began)}


def stamp(row: bytes, moment: dt.datetime) -> bytes:
    """A JSON row that carries ``moment`` as the time at which it landed.

    >>> stamp(b'{"id":1}', dt.datetime(2024, 5, 1, 12))
    b'{"_ingested_at":"2024-05-01T12:00:00.000000","id":1}'
    """
    head = f'{{"{INGESTED_AT}":"{moment.replace(tzinfo=None).isoformat(timespec="microseconds")}"'.encode()
    return head + (b"," if len(row) > 2 else b"") + row[1:]
