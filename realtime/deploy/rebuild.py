"""A landing table made anew in another order, partitioning or key type, with all of its rows.

Rows are copied by their ``_ingested_at`` while others come in, in passes that get shorter: a pass copies what has an
earlier time than those that come from its beginning on. Then the old table takes no insert any more (ClickHouse answers
"too many parts", and the ingest server tries again), those that had begun are waited for, the last rows are copied, and
both tables change names at once. Views hang on the name, so they go on.

Where the deploy is killed before that, the next one or any ingest server drops the new table and opens the old one, in
this order: a deploy that only seemed to be dead has no table any more to exchange.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import EPOCH, micros, server_now
from realtime.deploy.cutover import INSERT_TIMEOUT, latest
from realtime.deploy.ledger import Work
from realtime.deploy.live import Table
from realtime.deploy.widening import is_wider, plain_type
from realtime.emit.landing import (
    BESIDE,
    HIDDEN,
    INGESTED_AT,
    IS_BESIDE,
    IS_CLOSED,
    close_landing,
    column_type,
    create_landing,
    forget_tokens,
    keep_after,
    open_landing,
)
from realtime.emit.names import literal, quoted
from realtime.errors import CommandError
from realtime.ingest.recovery import send_on_last
from realtime.planner.ir import SourceSpec

_SHORT = 0.5
"""Seconds that a pass may take to be the last one while rows come in: for about as long inserts have to wait."""
_MOST_PASSES = 8
_SOON = timedelta(minutes=1)
"""Rows that a TTL deletes within this time are not counted."""


def rebuild(work: Work, source: SourceSpec, table: Table, *, held: bool = False) -> None:
    """Replaces the landing table of ``source``, which is ``table`` now, by one that is as declared; columns that are
    not declared any more stay until they are dropped, and one that became ``not_null`` may hold NULLs still. Of one
    that is ``held`` no row expires by itself.

    CommandError where both tables don't hold the same number of rows at the end: then the old one goes on.
    """
    beside = f"{source.landing}{BESIDE}{secrets.token_hex(6)}"
    # What was made over a column that may be NULL takes no rows of one that may not.
    stays = tuple(name for name in source.not_null if not table.columns.get(name, "").startswith("Nullable("))
    made = msgspec.structs.replace(source, landing=beside, not_null=stays)
    work.client.execute(create_landing(made, held=held))
    declared = {column.name for column in source.columns}
    for name, kind in table.columns.items():
        if name not in declared and name not in HIDDEN:
            work.client.execute(f"ALTER TABLE {beside} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}")
    copied = _values(made, table)
    try:
        since = _copied_passes(work, source, copied, beside)
        # The new table knows no tokens of batches: none can be sent on to views from it.
        send_on_last(work.client.endpoint, source)
        work.client.execute(close_landing(source.landing))
        wait_for_inserts(work.client, [source.landing], INSERT_TIMEOUT)
        _copy(work, source.landing, beside, copied, since, None)
        _check_equal(work, source, beside)
        # And what is sent again, or still on its way, has to ask for them first.
        known = max(micros(latest(work.client, [source.landing])), micros(since)) + 1
        work.client.execute(keep_after(beside, known))
        work.client.execute(forget_tokens(beside, known))
        # An insert that begins while tables are exchanged may find no views (26.7: 7 of 2,871 under 1,353 exchanges;
        # ClickHouse#108728 names the cause). So the new one is closed too, until such inserts have been refused.
        work.client.execute(close_landing(beside))
        work.check()
        work.client.execute(f"EXCHANGE TABLES {source.landing} AND {beside}")
        wait_for_inserts(work.client, [source.landing], INSERT_TIMEOUT)
        work.client.execute(open_landing(source.landing))
    except BaseException:
        undo_rebuilds(work.client, source.landing.split(".")[0])
        raise
    work.client.execute(f"DROP TABLE IF EXISTS {beside} SYNC")


def undo_rebuilds(client: ClickHouse, database: str) -> None:
    """Drops the tables that were to take the place of others in ``database``, or had it before, and lets inserts in."""
    sql = "SELECT concat(database, '.', name) AS relation FROM system.tables WHERE database = {database:String} AND "
    for row in client.rows(f"{sql}({IS_BESIDE} OR name LIKE '%\\_\\_quarantine\\_\\_made')", {"database": database}):
        client.execute(f"DROP TABLE IF EXISTS {row['relation']} SYNC")
    for row in client.rows(sql + IS_CLOSED, {"database": database}):
        client.execute(open_landing(row["relation"]))


def _values(made: SourceSpec, table: Table) -> dict[str, str]:
    """What is copied into each column that is there: of one that was empty when it was narrowed, rows may have come
    since, and what does not fit is an error."""
    found = {name: quoted(name) for name in table.columns}
    for column in made.columns:
        then, now = table.columns.get(column.name, ""), column_type(made, column)
        if then and not is_wider(plain_type(then), plain_type(now)) and plain_type(then) != plain_type(now):
            found[column.name] = f"accurateCast({quoted(column.name)}, {literal(now)})"
    return found


def _copied_passes(work: Work, source: SourceSpec, copied: Mapping[str, str], beside: str) -> datetime:
    """Copies what is there, then what came meanwhile; the moment up to which all rows are copied."""
    since = EPOCH
    for _ in range(_MOST_PASSES):
        work.check()
        began = time.monotonic()
        # Beyond this moment are, whatever the clock says, all rows that come from now on.
        until = max(latest(work.client, [source.landing]), since + timedelta(microseconds=1))
        work.client.execute(keep_after(source.landing, micros(until)))
        wait_for_inserts(work.client, [source.landing], INSERT_TIMEOUT)
        _copy(work, source.landing, beside, copied, since, until)
        since = until
        if time.monotonic() - began < _SHORT:
            break
    return since


def _copy(
    work: Work, landing: str, beside: str, copied: Mapping[str, str], since: datetime, until: datetime | None
) -> None:
    names, values = ", ".join(map(quoted, copied)), ", ".join(copied.values())
    within = f"{INGESTED_AT} >= fromUnixTimestamp64Micro({micros(since)}, 'UTC')"
    if until is not None:
        within += f" AND {INGESTED_AT} < fromUnixTimestamp64Micro({micros(until)}, 'UTC')"
    work.client.execute(
        f"INSERT INTO {beside} ({names}) SELECT {values} FROM {landing} WHERE {within}",
        # Two inserts of the same rows at the same moment are two: nothing may be taken for a double here.
        settings={
            "insert_deduplicate": 0,
            "insert_allow_materialized_columns": 1,
            "max_partitions_per_insert_block": 0,
            "log_comment": work.comment,
        },
    )


def _check_equal(work: Work, source: SourceSpec, beside: str) -> None:
    # A TTL deletes expired rows from one earlier than from the other.
    soon = micros(server_now(work.client) + _SOON)
    alive = f" WHERE ({source.ttl}) > fromUnixTimestamp64Micro({soon}, 'UTC')" if source.ttl else ""
    counts = [f"(SELECT count() FROM {table}{alive})" for table in (source.landing, beside)]
    (rows,) = work.client.rows(f"SELECT {counts[0]} AS old, {counts[1]} AS new")
    if rows["new"] < rows["old"] or (rows["new"] > rows["old"] and not source.ttl):
        raise CommandError(
            f"{beside} holds {rows['new']:,} rows and {source.landing} {rows['old']:,}: it was not replaced",
            remedy="deploy again; if it happens again, something else writes to these tables",
        )
