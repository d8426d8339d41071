"""Sending an insert again whose first try may have landed, while a deploy may have cut over in between.

ClickHouse drops a repeated token from the landing table but pushes its rows into the views, where a state's own log of
tokens drops them. A state that was made in between has no such log: its view takes rows by their ``_ingested_at``, and
its backfill those from before the cut-over. Rows that are sent again must therefore carry the moment under which they
landed; then the view lets pass exactly what the backfill does not hold, whatever the timing.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from realtime.clickhouse.moment import from_micros
from realtime.emit.landing import INGESTED_AT, column_ddl
from realtime.emit.names import quoted
from realtime.ingest.writer import MissingError, TroubleError, Writer
from realtime.planner.ir import SourceSpec

_RUNNING = "SELECT count() AS number FROM system.processes WHERE query_id = {token:String} FORMAT JSONEachRow"
_CUT = (
    "SELECT count() AS number FROM {table} FINAL WHERE phase IN ('cut', 'complete') AND cutover >= {{since:Int64}} "
    "FORMAT JSONEachRow"
)
# The rows of one insert carry one moment: the block is found as the insert that holds the same rows and no others.
_LANDED = """
minOrNull(toUnixTimestamp64Micro(moment)) AS number FROM (
  SELECT {moment} AS moment FROM {landing} WHERE {moment} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')
  GROUP BY moment HAVING (count(), sum({hash})) = (
    SELECT count(), sum({hash}) FROM format(JSONEachRow, {{structure:String}}, $rows_of_a_block$"""
_END = "$rows_of_a_block$))) FORMAT JSONEachRow"


class _Number(msgspec.Struct):
    number: int | None


class Landed:
    """Prepares the tries of one request's inserts into the landing table of ``source`` (see `Again`). ``since`` is
    the server's time before the first of them, in microseconds; ``resumed`` says that it was in an earlier request."""

    def __init__(self, writer: Writer, source: SourceSpec, since: int, resumed: bool) -> None:
        self._writer = writer
        self._source = source
        self._since = {"since": str(since)}
        self._resumed = resumed

    async def __call__(self, tries: int, statement: str, rows: bytes, token: str) -> tuple[str, bytes]:
        """``statement`` and ``rows``, with the moment under which the rows landed if they did and a deploy has cut
        over since. TroubleError while an earlier try is still running."""
        if not tries and not self._resumed:
            return statement, rows
        if await self._number(_RUNNING, {"token": token}):
            raise TroubleError("an earlier try of the same insert is still running")
        # An upserted source feeds no states, and its rows may have been replaced.
        if self._source.mode == "upsert" or not await self._was_cut():
            return statement, rows
        moment = await self._moment(rows)
        if moment is None:
            return statement, rows
        stamped = statement.replace(") FORMAT", f", {quoted(INGESTED_AT)}) FORMAT")
        return stamped, b"\n".join(stamp(row, from_micros(moment)) for row in rows.splitlines())

    async def _was_cut(self) -> bool:
        database = self._source.landing.partition(".")[0].removesuffix("_raw")
        try:
            return bool(await self._number(_CUT.format(table=f"{quoted(database + '_duet')}.states"), self._since))
        except MissingError:  # nothing was ever deployed
            return False

    async def _moment(self, rows: bytes) -> int | None:
        columns = self._source.columns
        names = ", ".join(quoted(c.name) for c in columns)
        query = _LANDED.format(
            moment=INGESTED_AT, landing=self._source.landing, hash=f"cityHash64(formatRow('RowBinary', {names}))"
        )
        structure = ", ".join(column_ddl(self._source, c) for c in columns)
        found = await self._writer.read(
            "SELECT", {**self._since, "structure": structure}, _Number, query.encode() + rows + _END.encode()
        )
        return found[0].number

    async def _number(self, query: str, parameters: dict[str, str]) -> int | None:
        return (await self._writer.read(query, parameters, _Number))[0].number


def stamp(row: bytes, moment: dt.datetime) -> bytes:
    """A JSON row that carries ``moment`` as the time at which it landed.

    >>> stamp(b'{"id":1}', dt.datetime(2024, 5, 1, 12))
    b'{"_ingested_at":"2024-05-01T12:00:00.000000","id":1}'
    """
    head = f'{{"{INGESTED_AT}":"{moment.replace(tzinfo=None).isoformat(timespec="microseconds")}"'.encode()
    return head + (b"," if len(row) > 2 else b"") + row[1:]
