"""The record of keyed requests, ``<database>_duet.requests``: what each began with, and how it ended.

What is finished is answered from here, and nothing is asked or sent; what is not, is asked for by its batch (`landed`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from realtime.emit.landing import INGESTED_AT
from realtime.emit.names import quoted
from realtime.emit.shards import create_database, engine_on
from realtime.ingest.committer import Table
from realtime.ingest.writer import MissingError, Writer
from realtime.planner.ir import Column, SourceSpec

DAYS = 30
"""How long a request is remembered."""

_COLUMNS = (
    "source String, method LowCardinality(String), key String, body String, declaration String CODEC(ZSTD(3)), "
    "began Int64, done Bool, successful_rows UInt64, quarantined_rows UInt64, refused Array(UInt64), "
    "at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')"
)
_ENGINE = (
    f"ReplacingMergeTree(at) ORDER BY (source, method, key) TTL toDateTime(at) + INTERVAL {DAYS} DAY "
    "SETTINGS index_granularity = 256"
)
_FIND = (
    "SELECT toUnixTimestamp64Micro(now64(6, 'UTC')) AS now, count() AS found, argMax(body, at) AS body, "
    "argMax(declaration, at) AS declaration, argMax(began, at) AS began, argMax(done, at) AS done, "
    "toUnixTimestamp64Micro(max(at)) AS saved, argMax(successful_rows, at) AS successful_rows, "
    "argMax(quarantined_rows, at) AS quarantined_rows, argMax(refused, at) AS refused "
    "FROM {table} WHERE source = {{source:String}} AND method = {{method:String}} AND key = {{key:String}} "
    "FORMAT JSONEachRow"
)
_encoder = msgspec.json.Encoder()


class Name(msgspec.Struct, frozen=True):
    """What tells one keyed request from another: ``method`` is POST or DELETE."""

    source: str
    method: str
    key: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A keyed request. ``body`` is a hash of what was sent; ``declaration`` the source as it was then (`declared`);
    ``began`` the server's time before the first insert, in microseconds; ``refused`` fingerprints of the rows that
    did not fit, in quarantine since (`fingerprint`). The counts are those of the answer, once it is ``done``."""

    body: str
    declaration: str
    began: int
    done: bool = False
    successful_rows: int = 0
    quarantined_rows: int = 0
    refused: tuple[int, ...] = ()


class _Found(Record, frozen=True, kw_only=True):
    now: int
    found: int
    saved: int


class _Some(msgspec.Struct):
    some: int


class Records:
    """The records of one database."""

    def __init__(self, writer: Writer, database: str) -> None:
        self._writer = writer
        self._database = f"{database}_duet"
        self._relation = f"{quoted(self._database)}.requests"
        self._table = Table(writer, gap=0)
        self._made = False

    async def find(self, name: Name, landing: str) -> tuple[Record | None, int]:
        """The record of a request, and the server's time in microseconds. None where there is none, or where the
        landing table was made anew or emptied since, so that what was stored is gone."""
        parameters = {"source": name.source, "method": name.method, "key": name.key}
        query = _FIND.format(table=self._relation)
        if not self._made:
            await self._make()
        try:
            (found,) = await self._writer.read(query, parameters, _Found)
        except MissingError:  # its database was dropped since
            await self._make()
            (found,) = await self._writer.read(query, parameters, _Found)
        kept = found.found and (not found.successful_rows or await self._is_as_old(landing, found.saved))
        return (found if kept else None), found.now

    async def save(self, name: Name, record: Record) -> None:
        """Returns when the record is on disk."""
        row = {**msgspec.structs.asdict(name), **{f: getattr(record, f) for f in Record.__struct_fields__}}
        statement = f"INSERT INTO {self._relation} ({', '.join(row)}) FORMAT JSONEachRow"
        await self._table.put(statement, _encoder.encode_lines([row]), 1)

    async def drain(self) -> None:
        """Returns when nothing waits any more."""
        await self._table.drain()

    async def _make(self) -> None:
        cluster = self._writer.cluster
        engine = engine_on(_ENGINE, replicated=bool(cluster))
        await self._writer.execute(create_database(self._database, cluster, everywhere=True))
        await self._writer.execute(f"CREATE TABLE IF NOT EXISTS {self._relation} ({_COLUMNS}) ENGINE = {engine}")
        self._made = True

    async def _is_as_old(self, landing: str, moment: int) -> bool:
        """Whether the landing table holds rows from ``moment`` or before."""
        query = (
            f"SELECT 1 AS some FROM {landing} WHERE {INGESTED_AT} <= fromUnixTimestamp64Micro({{moment:Int64}}, 'UTC') "
            "LIMIT 1 FORMAT JSONEachRow"
        )
        return bool(await self._writer.read(query, {"moment": str(moment)}, _Some))


def declared(source: SourceSpec) -> str:
    """What checks and stores rows in ``source``, as text: two declarations of it take the same rows if these are
    equal. `restored` reads it."""
    columns = tuple(Column(c.name, c.type, c.clickhouse) for c in source.columns)
    kept = SourceSpec(
        name=source.name,
        landing=source.landing,
        quarantine=source.quarantine,
        batch="",
        columns=columns,
        not_null=source.not_null,
        mode=source.mode,
        key=source.key,
        version=source.version,
        deleted=source.deleted,
        shards=source.shards,
    )
    return msgspec.json.encode(kept).decode()


def restored(declaration: str) -> SourceSpec:
    """The source that was `declared`."""
    return msgspec.json.decode(declaration, type=SourceSpec)


def fingerprint(row: bytes) -> int:
    """Tells a refused row of one request from its others; equal rows are refused alike."""
    return int.from_bytes(hashlib.blake2b(row, digest_size=8).digest())


def fingerprints(rows: Iterable[str]) -> tuple[int, ...]:
    """Of rows as `BadRow` keeps them."""
    return tuple(fingerprint(row.encode()) for row in rows)
