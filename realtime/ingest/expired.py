"""Rows whose ``ttl`` is over: deleted once the lake has them.

From the first export of a source on, ClickHouse deletes none of its rows by itself: each export deletes what has
expired and is in the lake. A part is dropped as a whole, and its rows never change, so whatever is inserted or merged
meanwhile, no row goes that the lake has not. The lake that exported first is the one that counts.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from datetime import datetime

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import micros, server_now
from realtime.deploy.ledger import Ledger
from realtime.deploy.lock import exclusive
from realtime.emit.landing import INGESTED_AT
from realtime.errors import BusyError, CommandError
from realtime.planner.ir import Plan, SourceSpec
from realtime.settings import Settings

_PAUSE = 0.05
_TTL = (
    "SELECT count() FROM system.tables WHERE concat(database, '.', name) = {table:String} "
    "AND engine_full LIKE '% TTL %'"
)


def hold(settings: Settings, plan: Plan, client: ClickHouse, *, take_over: bool = False) -> frozenset[str]:
    """Stops ClickHouse from deleting rows of sources with a ``ttl``; the names of those whose expired rows this lake
    decides about. ``take_over`` makes it the one for all of them."""
    sources = [source for source in plan.sources if source.ttl]
    if not sources:
        return frozenset()
    ledger, lake = Ledger(client, plan.database), _identity(settings)
    ledger.create()
    owners = ledger.lakes()
    ledger.own([s.name for s in sources if take_over or s.name not in owners], lake)
    for source in sources:
        if client.value(_TTL, {"table": source.landing}):
            client.execute(f"ALTER TABLE {source.landing} REMOVE TTL")
    return frozenset(s.name for s in sources if take_over or owners.get(s.name, lake) == lake)


def delete_expired(
    plan: Plan, client: ClickHouse, sources: Iterable[SourceSpec], watermark: datetime
) -> dict[str, int]:
    """Deletes the rows of ``sources`` that have expired and came before ``watermark``, up to which the lake has them;
    how many, by source. None while a deploy runs or waits to be continued: its backfill may have to read them."""
    ledger = Ledger(client, plan.database)
    try:
        with exclusive(client, plan.database, patience=0) as lock:
            if ledger.unfinished():
                return {}
            found = {}
            for source in sources:
                lock.check()
                whole = source.whole_parts and source.shards is msgspec.UNSET
                found[source.name] = (_drop_parts if whole else _delete_rows)(client, source, watermark)
            return found
    except BusyError:
        return {}


def expired(source: SourceSpec, moment: datetime) -> str:
    """The condition that an export at ``moment`` deletes a row of ``source``, which has a ``ttl``."""
    at = f"fromUnixTimestamp64Micro({micros(moment)}, 'UTC')"
    if not source.whole_parts:
        return f"({source.ttl}) <= {at}"
    begin = source.partition_by.partition("(")[0]
    return f"{source.partition_by} < {begin}({at} - {source.lifetime})"


def _drop_parts(client: ClickHouse, source: SourceSpec, watermark: datetime) -> int:
    over = client.rows(
        f"SELECT _part AS part, count() AS rows FROM {source.landing} "
        f"WHERE {expired(source, server_now(client))} GROUP BY part "
        f"HAVING max({INGESTED_AT}) < fromUnixTimestamp64Micro({micros(watermark)}, 'UTC') ORDER BY part"
    )
    gone = 0
    for part in over:
        try:
            client.execute(f"ALTER TABLE {source.landing} DROP PART '{part['part']}'")
        except CommandError as error:
            if "NO_SUCH_DATA_PART" not in error.message:
                raise
            continue  # it was merged into another one, which the next export finds
        gone += int(part["rows"])
    return gone


def _delete_rows(client: ClickHouse, source: SourceSpec, watermark: datetime) -> int:
    """On a cluster parts too: those of several shards may have one name, and each server drops only its own."""
    until = f"fromUnixTimestamp64Micro({micros(watermark)}, 'UTC')"
    over = f"{expired(source, server_now(client))} AND {INGESTED_AT} < {until}"
    rows = int(client.value(f"SELECT count() FROM {source.whole} WHERE {over}"))
    if rows:
        client.execute(f"ALTER TABLE {source.landing} DELETE WHERE {over}", settings={"mutations_sync": 1})
        _wait_for_mutations(client, source)
    return rows


def _wait_for_mutations(client: ClickHouse, source: SourceSpec) -> None:
    """Returns when every server has deleted what it was told to; CommandError where one can't."""
    database, table = source.landing.split(".")
    query = (
        f"SELECT latest_fail_reason AS reason FROM {client.endpoint.everywhere('system.mutations')} "
        "WHERE database = {database:String} AND table = {table:String} AND NOT is_done ORDER BY reason DESC"
    )
    while running := client.rows(query, {"database": database, "table": table}):
        if running[0]["reason"]:
            raise CommandError(f"expired rows of {source.landing} can't be deleted: {running[0]['reason']}")
        time.sleep(_PAUSE)


def _identity(settings: Settings) -> str:
    """What tells this lake from others, wherever its folder is."""
    file = settings.lake_dir / ".id"
    if not file.exists():
        file.write_text(uuid.uuid4().hex)
    return file.read_text()
