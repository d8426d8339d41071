"""DDL of the tables that take a source's rows: the landing table, and the quarantine for rows that are refused."""

from __future__ import annotations

import msgspec

from realtime.emit.names import quoted
from realtime.emit.shards import create_whole, engine_on, window
from realtime.errors import SourceError
from realtime.planner.ir import Column, Index, Shards, SourceSpec
from realtime.transpile.types import NESTED, Kind, duck_type

INGESTED_AT = "_ingested_at"
BATCH_ID = "_batch_id"
BATCH_PREFIX = "duet-"
"""Begins the query id of every insert that Duet sends into a landing table; the batch's number follows."""
WHOLE_PARTS = "ttl_only_drop_parts = 1"
"""Of tables whose partitions follow the time by which their rows expire: parts are dropped, never rewritten."""
KNOWS = "duet-knows-"
"""Begins the ``log_comment`` of these inserts; the last cut-over follows that the sender knew of (see `keep_after`)."""
EARLY = "duet: sent before a cut-over"
BESIDE = "__next_"
"""Within the name of a table that is to take the place of a landing table; twelve hexadecimal digits follow."""
IS_BESIDE = f"match(name, '{BESIDE}[0-9a-f]{{12}}$')"
IS_CLOSED = "engine_full LIKE '%max_parts_in_total = 0%'"
"""Conditions on rows of ``system.tables``."""
QUARANTINE_DAYS = 90
QUARANTINE_NEWEST = "revision"
"""The column of quarantine tables that came last: one without it is of an older version."""

# The server's time, one for an insert; and the number in the id of the query that the client sent, whichever shard
# stores the rows (0 where another program inserts).
_NUMBER = f"toUInt64OrZero(substring(initialQueryID(), {len(BATCH_PREFIX) + 1}))"
_HIDDEN = {
    INGESTED_AT: "DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')",
    BATCH_ID: f"UInt64 MATERIALIZED {_NUMBER} CODEC(ZSTD)",
}
HIDDEN = tuple(_HIDDEN)
# What is asked for is young: parts hold rows that came together, so this leaves only the newest to be read.
_INDEX = f"ingested_at {INGESTED_AT} TYPE minmax GRANULARITY 1"

# A vector index names single rows, and with each a whole mark's vectors are read: those of 128 rows are 64 KB of 128
# numbers each. Of 100,000 such rows 140 candidates take 9 MB so, 54 MB with the usual 8,192.
_FINE = 128

# What ReplacingMergeTree compares as a version the way DuckDB compares the column. It also takes floats (NaN has
# no place in the order) and refuses decimals, text and UUIDs: tried on 26.7, negative and pre-1970 values too.
_VERSIONS = frozenset({Kind.INTEGER, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})


def landing_ddl(source: SourceSpec, *, held: bool = False) -> list[str]:
    """Statements that make the tables of ``source`` where they are missing: landing, then quarantine; on a cluster
    those over all shards too.

    SourceError where the declared version can't decide which row of a key is newest.
    """
    made = [create_landing(source, held=held), create_quarantine(source)]
    if source.shards is not msgspec.UNSET:
        made += [create_whole(source.landing, source.shards), create_whole(source.quarantine, _by_row(source.shards))]
    return made


def _by_row(shards: Shards) -> Shards:
    """Of a quarantine: what comes of a row later is stored where it is, for the row's text stays."""
    return Shards(shards.cluster, ("row",))


def create_landing(source: SourceSpec, *, held: bool = False) -> str:
    """The landing table: the declared columns in their order, and the hidden ones, which the server sets. Of one that
    is ``held`` no row expires by itself (see `realtime.ingest.expired`).

    An upserted source keeps one row per key, that of the highest version; between equal versions the row
    that was inserted last. Deleted rows stay as markers, so that an older version that comes late can't revive
    its key; readers leave them out (see `realtime.planner.relations`).
    """
    columns = [column_ddl(source, column) for column in source.columns]
    columns += [f"{name} {ddl}" for name, ddl in _HIDDEN.items()]
    columns += [f"INDEX {_INDEX}", *map(index_ddl, source.indexes)]
    clauses = [f"CREATE TABLE IF NOT EXISTS {source.landing} (", ",\n".join(f"  {c}" for c in columns), ")"]
    replicated = source.shards is not msgspec.UNSET
    clauses.append(f"ENGINE = {engine_on(engine(source), replicated=replicated)}")
    if source.partition_by:
        clauses.append(f"PARTITION BY {source.partition_by}")
    clauses.append(f"ORDER BY ({', '.join(quoted(c) for c in sorting_key(source))})")
    if source.ttl and not held:
        clauses.append(f"TTL {source.ttl}")
    whole = f", {WHOLE_PARTS}" if source.whole_parts else ""
    fine = f", index_granularity = {_FINE}" if any(map(is_graph, source.indexes)) else ""
    clauses.append(f"SETTINGS {table_settings(replicated=replicated)}{whole}{fine}")
    return "\n".join(clauses)


def create_quarantine(source: SourceSpec) -> str:
    """The table of refused rows: each as it came, with the columns at fault and the reasons; the header line of a CSV
    row, the message in which it came, and what became of it when it was replayed (see `realtime.ingest.quarantine`)."""
    replicated = source.shards is not msgspec.UNSET
    return (
        f"CREATE TABLE IF NOT EXISTS {source.quarantine} (\n"
        "  received_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'),\n"
        "  id UUID DEFAULT generateUUIDv4(),\n"
        "  request_id String,\n"
        "  row String,\n"
        "  header String,\n"
        "  columns Array(String),\n"
        "  reasons Array(String),\n"
        "  topic LowCardinality(String),\n"
        "  partition Int32 DEFAULT -1,\n"
        "  offset Int64 DEFAULT -1,\n"
        "  replay String,\n"
        "  replayed_row String,\n"
        "  replayed Bool,\n"
        "  revision UInt8\n"
        f")\nENGINE = {engine_on('ReplacingMergeTree(revision)', replicated=replicated)}\nORDER BY (received_at, id)\n"
        f"TTL received_at + INTERVAL {QUARANTINE_DAYS} DAY\n"
        f"SETTINGS {window(replicated=replicated)}"
    )


def table_settings(*, replicated: bool) -> str:
    """The settings of landing and state tables."""
    return f"allow_nullable_key = 1, {window(replicated=replicated)}"


def remake_quarantine(source: SourceSpec) -> list[str]:
    """Statements that give an older quarantine the columns that a new one has; its rows stay."""
    made, kept = f"{source.quarantine}__made", "received_at, request_id, row, columns, reasons"
    return [
        f"DROP TABLE IF EXISTS {made}",
        create_quarantine(source).replace(source.quarantine, made, 1),
        f"INSERT INTO {made} ({kept}) SELECT {kept} FROM {source.quarantine}",
        f"EXCHANGE TABLES {made} AND {source.quarantine}",
        f"DROP TABLE {made}",
    ]


def add_column(source: SourceSpec, column: Column) -> str:
    """The statement that adds ``column``, before the hidden column as in a new table."""
    before = source.columns[: source.columns.index(column)]
    place = f"AFTER {quoted(before[-1].name)}" if before else "FIRST"
    return f"ALTER TABLE {source.landing} ADD COLUMN IF NOT EXISTS {column_ddl(source, column)} {place}"


def add_hidden(source: SourceSpec) -> list[str]:
    """Statements that give an older landing table the hidden columns and the index that a new one has."""
    place = f"AFTER {INGESTED_AT}"
    return [
        f"ALTER TABLE {source.landing} ADD COLUMN IF NOT EXISTS {BATCH_ID} {_HIDDEN[BATCH_ID]} {place}",
        f"ALTER TABLE {source.landing} ADD INDEX IF NOT EXISTS {_INDEX}",
    ]


def index_ddl(index: Index) -> str:
    """``index`` as in a CREATE TABLE; one of vectors is one graph for each part."""
    granularity = "" if is_graph(index) else " GRANULARITY 1"
    return f"INDEX {index.name} {index.expression} TYPE {index.type}{granularity}"


def is_graph(index: Index) -> bool:
    """Whether ``index`` finds the nearest vectors."""
    return index.type.startswith("vector_similarity")


def add_index(relation: str, index: Index) -> str:
    """The statement that adds ``index``; parts that are there have it once it is materialized."""
    return f"ALTER TABLE {relation} ADD {index_ddl(index).replace('INDEX', 'INDEX IF NOT EXISTS', 1)}"


def keep_after(landing: str, moment: int) -> str:
    """The statement by which no row of ``landing`` gets a time before ``moment`` (microseconds) any more, even if the
    server's clock is set back: it would belong to neither side of a cut-over.

    And no insert is taken that was sent by one who did not know of this cut-over, as its ``log_comment`` says: an
    earlier try of rows that are there already, which was on its way for long, would count in the new states again.
    """
    known = f"toInt64OrZero(substring(getSetting('log_comment'), {len(KNOWS) + 1}))"
    early = f"throwIf(startsWith(getSetting('log_comment'), '{KNOWS}') AND {known} < {moment}, '{EARLY}')"
    floor = f"greatest(now64(6, 'UTC'), fromUnixTimestamp64Micro({moment} + {early}, 'UTC'))"
    return f"ALTER TABLE {landing} MODIFY COLUMN {INGESTED_AT} DateTime64(6, 'UTC') DEFAULT {floor} COMMENT '{moment}'"


def forget_tokens(landing: str, moment: int) -> str:
    """The statement that says of ``landing``: what came before ``moment`` (microseconds) has reached its views, and is
    not to be sent on to them, for the table or a view does not know its tokens any more."""
    return f"ALTER TABLE {landing} COMMENT COLUMN {BATCH_ID} '{moment}'"


def close_landing(landing: str) -> str:
    """The statement by which every insert into ``landing`` is refused, to be tried again: with a limit of no parts that
    is so in an empty table too (tried on 26.7)."""
    return f"ALTER TABLE {landing} MODIFY SETTING max_parts_in_total = 0"


def open_landing(landing: str) -> str:
    """The statement that undoes `close_landing`."""
    return f"ALTER TABLE {landing} RESET SETTING max_parts_in_total"


def column_ddl(source: SourceSpec, column: Column) -> str:
    """``name type`` as in a CREATE TABLE. An array is never empty, not in the row of a deletion either: its index takes
    none."""
    kind = duck_type(column.type)
    zeros = f" DEFAULT arrayWithConstant({kind.size}, to{kind.item.base}(0))" if kind.kind is Kind.ARRAY else ""
    return f"{quoted(column.name)} {column_type(source, column)}{zeros}"


def column_type(source: SourceSpec, column: Column) -> str:
    """The column's type in the landing table: Nullable unless declared ``not_null``; what is `NESTED` never."""
    nullable = column.name not in {*source.not_null, *source.key, source.version} and not is_nested(column)
    return f"Nullable({column.clickhouse})" if nullable else column.clickhouse


def is_nested(column: Column) -> bool:
    """Whether the column holds lists, arrays, structs or maps, which ClickHouse can't make Nullable."""
    return duck_type(column.type).kind in NESTED


def engine(source: SourceSpec) -> str:
    """The table engine; SourceError where the version's type does not order rows exactly."""
    if source.mode == "append":
        return "MergeTree"
    version = next(c for c in source.columns if c.name == source.version)
    if duck_type(version.type).kind not in _VERSIONS:
        raise SourceError(
            f"source {source.name}: version column {version.name} is {version.type}, by which ClickHouse can't tell "
            "the newest row of a key",
            remedy="use a column of whole numbers (BIGINT), DATE or TIMESTAMP as `version`",
        )
    return f"ReplacingMergeTree({quoted(source.version)})"


def sorting_key(source: SourceSpec) -> tuple[str, ...]:
    """The columns that the table is ordered by."""
    if source.mode == "upsert":
        return source.key
    event_time = (source.event_time,) if source.event_time else ()
    return source.order_by or event_time or (INGESTED_AT,)
