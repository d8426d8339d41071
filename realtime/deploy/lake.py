"""Rows that a landing table's TTL has deleted, read back from the lake for a backfill.

They are loaded into a table beside the landing table, which has no views, in its types. Up to the lake's watermark
a backfill reads this table, from there on the landing table: each row once, wherever else it may be. Each file is a
partition: one that has not as many rows as the file was not loaded to its end, and is loaded again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from realtime.deploy.ledger import Work
from realtime.emit.landing import INGESTED_AT, column_type
from realtime.emit.names import literal, quoted
from realtime.errors import CommandError
from realtime.ingest.lake_files import LakeFile, column_names, lake_files, row_count, watermark
from realtime.ingest.parquet import from_wire, wire_type
from realtime.planner.ir import SourceSpec
from realtime.settings import Settings
from realtime.transpile.types import duck_type

LAKE = "__lake"
_FILE = "_lake_file"


@dataclasses.dataclass(frozen=True)
class Lake:
    """A table that holds every row of a source that came before ``watermark``."""

    table: str
    watermark: datetime


NO_LAKES: Mapping[str, Lake] = MappingProxyType({})


def has_lake(settings: Settings) -> frozenset[str]:
    """Names of the sources whose rows have been exported."""
    return frozenset(path.parent.name for path in settings.lake_dir.glob("*/*.parquet"))


def load_lakes(work: Work, settings: Settings, sources: Iterable[SourceSpec]) -> dict[str, Lake]:
    """The lake of each of ``sources`` that has a TTL, loaded, by landing table; a file that an earlier deploy had
    loaded is not loaded again."""
    found = {}
    for source in sources:
        files = lake_files(settings, source.name) if source.ttl and source.mode == "append" else ()
        if files:
            found[source.landing] = Lake(_load(work, source, files), watermark(files))
    return found


def drop_lakes(work: Work, sources: Iterable[SourceSpec]) -> None:
    """Drops what was loaded."""
    for source in sources:
        work.client.execute(f"DROP TABLE IF EXISTS {source.landing}{LAKE} SYNC")


def _load(work: Work, source: SourceSpec, files: tuple[LakeFile, ...]) -> str:
    table = f"{source.landing}{LAKE}"
    columns = ", ".join(f"{quoted(c.name)} {column_type(source, c)}" for c in source.columns)
    work.client.execute(
        f"CREATE TABLE IF NOT EXISTS {table} ({columns}, {INGESTED_AT} DateTime64(6, 'UTC'), {_FILE} String) "
        f"ENGINE = MergeTree PARTITION BY {_FILE} ORDER BY {INGESTED_AT}"
    )
    present = column_names([file.path for file in files])
    work.report(f"source {source.name}: {len(files)} files of the lake are loaded, for rows that its ttl has deleted")
    for number, (file, names) in enumerate(zip(files, present, strict=True), start=1):
        work.check()
        rows = row_count([file.path])
        if _loaded(work, table, file) != rows:
            work.client.execute(f"ALTER TABLE {table} DROP PARTITION {literal(file.path.name)}")
            work.client.upload(_statement(table, source, file, names), file.path, {"log_comment": work.comment})
            if (there := _loaded(work, table, file)) != rows:
                raise CommandError(f"{file.path} has {rows:,} rows, and {there:,} were loaded", remedy="deploy again")
        work.progress(f"lake of {source.name}: files", number, len(files))
    return table


def _loaded(work: Work, table: str, file: LakeFile) -> int:
    """How many rows of ``file`` are in ``table``."""
    sql = f"SELECT count() FROM {table} WHERE {_FILE} = {{file:String}}"
    return int(work.client.value(sql, {"file": file.path.name}))


def _statement(table: str, source: SourceSpec, file: LakeFile, present: frozenset[str]) -> str:
    """The insert of a file: each of its columns out of the type in which Parquet carries it."""
    columns = [c for c in source.columns if c.name in present]
    kinds = {c.name: duck_type(c.type) for c in columns}
    moment = "DateTime64(6, 'UTC')"
    structure = [f"{quoted(c.name)} {wire_type(kinds[c.name])}" for c in columns] + [f"{INGESTED_AT} {moment}"]
    values = [from_wire(quoted(c.name), kinds[c.name]) for c in columns] + [INGESTED_AT]
    values.append(literal(file.path.name))
    names = ", ".join([*(quoted(c.name) for c in columns), INGESTED_AT, _FILE])
    given = f"input({literal(', '.join(structure))})"
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM {given} FORMAT Parquet"
