"""A landing table made anew in another order, partitioning or key type, with all of its rows.

Rows are copied by their ``_ingested_at`` while others come in, in passes that get shorter. Then the old table takes no
insert any more (ClickHouse answers "too many parts", and the ingest server tries again), those that had begun are
waited for, the last rows are copied, and both tables change names at once. Views hang on the name, so they go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

import msgspec

from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import EPOCH, micros, server_now
from realtime.deploy.ledger import Work
from realtime.deploy.live import Table
from realtime.emit.landing import HIDDEN, INGESTED_AT, create_landing
from realtime.emit.names import quoted
from realtime.errors import CommandError
from realtime.planner.ir import SourceSpec

_BESIDE = "__next"
_SHORT = 0.5
"""Seconds that a pass may take to be the last one while rows come in: for about as long inserts have to wait."""
_MOST_PASSES = 8
_INSERT_TIMEOUT = 600.0
# With a limit of no parts every insert is refused, also into an empty table (tried on 26.7); code 252 is retried.
_CLOSE = "ALTER TABLE {table} MODIFY SETTING max_parts_in_total = 0"
_OPEN = "ALTER TABLE {table} RESET SETTING max_parts_in_total"


def rebuild(work: Work, source: SourceSpec, table: Table, *, held: bool = False) -> None:
    """Replaces the landing table of ``source``, which is ``table`` now, by one that is as declared; columns that are
    not declared any more stay until they are dropped. Of one that is ``held`` no row expires by itself.

    CommandError where both tables don't hold the same number of rows at the end: then the old one goes on.
    """
    beside = source.landing + _BESIDE
    work.client.execute(f"DROP TABLE IF EXISTS {beside} SYNC")
    work.client.execute(create_landing(msgspec.structs.replace(source, landing=beside), held=held))
    declared = {column.name for column in source.columns}
    for name, kind in table.columns.items():
        if name not in declared and name not in HIDDEN:
            work.client.execute(f"ALTER TABLE {beside} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}")
    since = _copied_passes(work, source, table, beside)
    work.client.execute(_CLOSE.format(table=source.landing))
    try:
        _wait(work, source)
        _copy(work, source.landing, beside, table.columns, since, None)
        _check_equal(work, source, beside)
        work.client.execute(f"EXCHANGE TABLES {source.landing} AND {beside}")
    except BaseException:
        work.client.execute(_OPEN.format(table=source.landing))
        raise
    work.client.execute(f"DROP TABLE IF EXISTS {beside} SYNC")


def reopen(work: Work, database: str) -> None:
    """Lets inserts into tables of ``database`` in again where a deploy was killed after it had closed one."""
    sql = (
        "SELECT concat(database, '.', name) AS relation FROM system.tables "
        "WHERE engine_full LIKE '%max_parts_in_total = 0%' AND database = {database:String}"
    )
    for row in work.client.rows(sql, {"database": database}):
        work.client.execute(_OPEN.format(table=row["relation"]))


def _copied_passes(work: Work, source: SourceSpec, table: Table, beside: str) -> datetime:
    """Copies what is there, then what came meanwhile; the moment up to which all rows are copied."""
    since = EPOCH
    for _ in range(_MOST_PASSES):
        work.check()
        until, began = server_now(work.client), time.monotonic()
        wait_for_inserts(work.client, [source.landing], until, _INSERT_TIMEOUT)
        _copy(work, source.landing, beside, table.columns, since, until)
        since = until
        if time.monotonic() - began < _SHORT:
            break
    return since


def _copy(
    work: Work, landing: str, beside: str, columns: Iterable[str], since: datetime, until: datetime | None
) -> None:
    names = ", ".join(quoted(name) for name in columns)
    within = f"{INGESTED_AT} >= fromUnixTimestamp64Micro({micros(since)}, 'UTC')"
    if until is not None:
        within += f" AND {INGESTED_AT} < fromUnixTimestamp64Micro({micros(until)}, 'UTC')"
    work.client.execute(
        f"INSERT INTO {beside} ({names}) SELECT {names} FROM {landing} WHERE {within}",
        # Two inserts of the same rows at the same moment are two: nothing may be taken for a double here.
        settings={
            "insert_deduplicate": 0,
            "insert_allow_materialized_columns": 1,
            "max_partitions_per_insert_block": 0,
            "log_comment": work.comment,
        },
    )


def _wait(work: Work, source: SourceSpec) -> None:
    wait_for_inserts(work.client, [source.landing], server_now(work.client), _INSERT_TIMEOUT)


def _check_equal(work: Work, source: SourceSpec, beside: str) -> None:
    count = f"SELECT (SELECT count() FROM {source.landing}) AS old, (SELECT count() FROM {beside}) AS new"
    (rows,) = work.client.rows(count)
    # A TTL deletes expired rows from one earlier than from the other.
    if rows["old"] != rows["new"] and not source.ttl:
        raise CommandError(
            f"{beside} holds {rows['new']:,} rows and {source.landing} {rows['old']:,}: it was not replaced",
            remedy="deploy again; if it happens again, something else writes to these tables",
        )
