"""From the landing tables to the lake: rows that have come since the last export, each exactly once.

A span of ``_ingested_at`` is exported once no insert can add to it any more: the new watermark is ClickHouse's
clock, and every insert that had started before it is waited for. A file gets its name, which is the record of the
span, only when it is whole and on disk. So an export that was killed leaves at most a nameless file behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import clocks, from_micros, micros
from realtime.deploy.chunks import reread
from realtime.emit.landing import INGESTED_AT
from realtime.errors import BusyError, ConfigError, ParityError
from realtime.ingest.expired import delete_expired, hold
from realtime.ingest.lake_files import EPOCH, LakeFile, lake_files, row_count, source_folder, watermark
from realtime.ingest.parquet import to_parquet
from realtime.planner.ir import Column, Plan, SourceSpec
from realtime.settings import Settings
from realtime.transpile.types import duck_type

Progress = Callable[[str, int, int], None]
"""Told of a source, how many rows of it are exported and how many there are to export."""

ROWS_PER_FILE = 1_000_000
MOST_FILES = 8
"""Files of one export at most where the landing table is read anew for each: every one costs about a twelfth of what
writing all rows to one does."""
_Span = tuple[datetime, datetime, int]
_SETTINGS = {
    "session_timezone": "UTC",
    # Row groups small enough to be skipped and to be written and read in little memory.
    "output_format_parquet_row_group_size": 122_880,
    "output_format_parquet_row_group_size_bytes": 64 << 20,
    "max_bytes_before_external_sort": 512 << 20,
    "max_bytes_before_external_group_by": 512 << 20,
}


@dataclasses.dataclass(frozen=True)
class Exported:
    """What one export did for a source; every row below ``watermark`` is in the lake. ``expired`` rows were deleted
    from the landing table, in which they need not be any more; ``held`` says that another lake decides about those."""

    source: str
    rows: int
    files: int
    watermark: datetime
    expired: int = 0
    held: bool = False

    def __str__(self) -> str:
        return f"{self.source}: {self.rows} rows in {self.files} files, up to {self.watermark:%Y-%m-%d %H:%M:%S.%f}Z"


def export(
    settings: Settings,
    plan: Plan,
    client: ClickHouse,
    progress: Progress = lambda *_: None,
    *,
    take_over: bool = False,
) -> list[Exported]:
    """Writes the rows that each source of ``plan`` got since its last export to the lake; then deletes those from the
    landing table whose ``ttl`` is over, if this lake is the one that decides about them. ``take_over`` makes it that.

    BusyError while another export runs; ConfigError where a source is not deployed or the lake's files don't join;
    ParityError where lake and landing table no longer hold the same older rows; UnavailableError as the client.
    """
    with _alone(settings.lake_dir):
        columns = {spec.name: landing_columns(client, spec) for spec in plan.sources}
        own = hold(settings, plan, client, take_over=take_over)
        end, _ = clocks(client)
        wait_for_inserts(client, [spec.landing for spec in plan.sources])
        found = [_export_source(settings, s, columns[s.name], client, end, progress) for s in plan.sources]
        expired = delete_expired(plan, client, [s for s in plan.sources if s.name in own], end) if own else {}
        held = {s.name for s in plan.sources if s.ttl and s.name not in own}
        return [dataclasses.replace(e, expired=expired.get(e.source, 0), held=e.source in held) for e in found]


def landing_columns(client: ClickHouse, spec: SourceSpec) -> tuple[Column, ...]:
    """The declared columns that the landing table has (one declared since has not been deployed yet)."""
    database, name = spec.landing.split(".")
    rows = client.rows(
        "SELECT name FROM system.columns WHERE database = {database:String} AND table = {name:String}",
        {"database": database, "name": name},
    )
    if not rows:
        raise ConfigError(f"source {spec.name} has no landing table {spec.landing}", remedy="create it: duet deploy")
    existing = {row["name"] for row in rows}
    return tuple(c for c in spec.columns if c.name in existing)


def landed_rows(client: ClickHouse, spec: SourceSpec, start: datetime, end: datetime | None = None) -> int:
    """How many rows of the landing table have ``_ingested_at`` from ``start`` on and below ``end``."""
    query = exp.select(exp.Count(this=exp.Star())).from_(_landing(spec)).where(_within(start, end))
    return int(client.value(query.sql("clickhouse")))


def lake_differs(spec: SourceSpec, files: Sequence[LakeFile], client: ClickHouse) -> str:
    """How the rows in ``files`` differ in number from the landing table's of the same span; empty where they don't.

    They do where the landing table was made anew, rows were deleted from it, or the server's clock was set back.
    Rows that a newer version replaced or whose time to live is over are meant to be gone: then nothing can be said.
    """
    if not files or spec.mode != "append" or spec.ttl:
        return ""
    end = watermark(files)
    kept, landed = row_count([f.path for f in files]), landed_rows(client, spec, EPOCH, end)
    if kept == landed:
        return ""
    return (
        f"the lake of source {spec.name} holds {kept} rows up to {end:%Y-%m-%d %H:%M:%S.%f}Z, {spec.landing} {landed}"
    )


def _export_source(
    settings: Settings,
    spec: SourceSpec,
    columns: Sequence[Column],
    client: ClickHouse,
    end: datetime,
    progress: Progress,
) -> Exported:
    folder = source_folder(settings, spec.name)
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob("*.tmp"):
        unfinished.unlink()
    files = lake_files(settings, spec.name)
    different = lake_differs(spec, files, client)
    if different:
        raise ParityError(different, remedy=f"delete {folder} and export all of it again: duet export")
    spans = _spans(client, spec, watermark(files), end, ROWS_PER_FILE)
    if len(spans) > MOST_FILES and reread(client, spec.landing, spans):
        rows = sum(count for _, _, count in spans)
        spans = _spans(client, spec, watermark(files), end, -(-rows // MOST_FILES))
    total, done = sum(rows for _, _, rows in spans), 0
    for start, stop, _ in spans:
        done += _write(client, spec, columns, LakeFile(start, stop, folder))
        progress(spec.name, done, total)
    return Exported(spec.name, done, len(spans), end)


def _spans(client: ClickHouse, spec: SourceSpec, start: datetime, end: datetime, rows_per_file: int) -> list[_Span]:
    """Spans that together are from ``start`` to ``end``, and their rows: each of ``rows_per_file``, or a little more
    where many rows have the same moment. None where there is no row."""
    moments = (
        exp.select(exp.alias_(exp.column(INGESTED_AT), "moment"), exp.alias_(exp.Count(this=exp.Star()), "n"))
        .from_(_landing(spec)).where(_within(start, end)).group_by(exp.column("moment"))
    )  # fmt: skip
    file = exp.alias_(_file_number(rows_per_file), "file")
    numbered = exp.select("moment", "n", file).from_(moments.subquery("moments"))
    first = exp.Anonymous(this="toUnixTimestamp64Micro", expressions=[exp.Min(this=exp.column("moment"))])
    query = (
        exp.select(exp.alias_(first, "first"), exp.alias_(exp.Sum(this=exp.column("n")), "total"))
        .from_(numbered.subquery("numbered")).group_by(exp.column("file")).order_by(exp.column("first"))
    )  # fmt: skip
    found = client.rows(query.sql("clickhouse"), settings=_SETTINGS)
    starts = [start, *(from_micros(int(row["first"])) for row in found[1:])]
    ends = [*starts[1:], end]
    return [(a, b, int(row["total"])) for a, b, row in zip(starts, ends, found, strict=False)]


def _file_number(rows_per_file: int) -> exp.Expr:
    """Rows before this moment's, in whole files."""
    upto = exp.Window(
        this=exp.Sum(this=exp.column("n")),
        order=exp.Order(expressions=[exp.Ordered(this=exp.column("moment"))]),
        spec=exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW"),
    )
    before = exp.Sub(this=upto, expression=exp.column("n"))
    return exp.Anonymous(this="intDiv", expressions=[before, exp.Literal.number(rows_per_file)])


def _write(client: ClickHouse, spec: SourceSpec, columns: Sequence[Column], file: LakeFile) -> int:
    """Writes ``file`` whole or not at all; its number of rows."""
    temporary = file.path.with_suffix(".tmp")
    client.download(_select(spec, columns, file).sql("clickhouse"), temporary, settings=_SETTINGS)
    # An answer that broke off has no footer and fails here, before it gets a name.
    rows = row_count([temporary])
    _sync(temporary)
    os.rename(temporary, file.path)
    _sync(file.folder)
    return rows


def _select(spec: SourceSpec, columns: Sequence[Column], file: LakeFile) -> exp.Select:
    values = [
        exp.alias_(to_parquet(exp.column(c.name, table="landing", quoted=True), duck_type(c.type)), c.name, quoted=True)
        for c in columns
    ]
    ingested = exp.column(INGESTED_AT, table="landing")
    query = exp.select(*values, ingested).from_(exp.alias_(_landing(spec), "landing", table=True))
    query = query.where(_within(file.start, file.end))
    if spec.mode == "upsert":
        # Of rows with equal key and version the last inserted counts: the file keeps the order of insertion.
        query = query.order_by(ingested.copy(), exp.column("_block_number"), exp.column("_part_offset"))
    query.set("format", exp.to_identifier("Parquet"))
    return query


def _landing(spec: SourceSpec) -> exp.Table:
    database, name = spec.whole.split(".")
    return exp.table_(name, db=database, quoted=True)


def _within(start: datetime, end: datetime | None) -> exp.Expr:
    since: exp.Expr = exp.GTE(this=exp.column(INGESTED_AT), expression=_literal(start))
    return since if end is None else exp.and_(since, exp.LT(this=exp.column(INGESTED_AT), expression=_literal(end)))


def _literal(moment: datetime) -> exp.Expr:
    since = exp.Literal.number(micros(moment))
    return exp.Anonymous(this="fromUnixTimestamp64Micro", expressions=[since, exp.Literal.string("UTC")])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(lake: Path) -> Iterator[None]:
    """Holds the lake for this process; the lock goes with it however it ends."""
    lake.mkdir(parents=True, exist_ok=True)
    (lake / ".gitignore").write_text("*\n")
    with (lake / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another export writes to {lake}", remedy="wait until it has ended") from None
        yield
