"""Waiting until inserts that began before a moment are over, so that what they wrote can be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import micros, server_now
from realtime.errors import BusyError

# `elapsed` is measured by a clock that nobody sets; 10 ms and a thousandth are added, for it is another one than ours:
# one insert too many does no harm. What is queued has a time of the clock that may be set back.
_RUNNING = """
SELECT query_id, elapsed, query AS text, '' AS target FROM {processes}
WHERE query_kind IN ('Insert', 'AsyncInsertFlush')
  AND elapsed * 1.001 + 0.01 > {waited:Float64} AND NOT match(query, {derived:String})
UNION ALL
SELECT entries.query_id[1], dateDiff('microsecond', first_update, now64(6, 'UTC')) / 1e6, query,
  concat(database, '.', table)
FROM {queued} WHERE first_update < fromUnixTimestamp64Micro({before:Int64}, 'UTC') OR first_update > now64(6, 'UTC')
"""
# A refresh, or a backfill: it reads landing tables and writes to a state database, also one that is only just made.
_DERIVED = r"^INSERT INTO `?\w+_state`?\."


def wait_for_inserts(client: ClickHouse, tables: Sequence[str], timeout: float = 60) -> None:
    """Returns when no INSERT into ``tables`` (``database.table``) that had started when this was called is running or
    queued any more, on any server, however their clocks are set meanwhile: what such inserts wrote is then visible.

    An insert's target is known by its text, so one that only mentions a table's name is waited for too.
    Inserts through a Kafka engine are no queries and are not seen. BusyError naming the insert where one
    still runs after ``timeout`` seconds; UnavailableError where the server does not answer.
    """
    began, before = time.monotonic(), micros(server_now(client))
    pause, clear = 0.002, 0
    while True:
        found = _older(client, tables, time.monotonic() - began, before)
        # A queued insert leaves the queue a moment before it shows as a process.
        clear = 0 if found else clear + 1
        if clear == 2:
            return
        if found and time.monotonic() > began + timeout:
            raise _busy(found, timeout)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1) if found else 0.002


def _older(client: ClickHouse, tables: Sequence[str], waited: float, before: int) -> list[dict[str, Any]]:
    """The inserts that had started ``waited`` seconds ago, of those that are queued when it was ``before``."""
    everywhere = client.endpoint.everywhere
    sql = _RUNNING.replace("{processes}", everywhere("system.processes"))
    sql = sql.replace("{queued}", everywhere("system.asynchronous_inserts"))
    rows = client.rows(sql, {"waited": waited, "before": before, "derived": _DERIVED}, {"log_queries": 0})
    names = [table.split(".")[-1] for table in tables]
    return [r for r in rows if (r["target"] in tables if r["target"] else any(name in r["text"] for name in names))]


def _busy(found: list[dict[str, Any]], timeout: float) -> BusyError:
    oldest = max(found, key=lambda row: float(row["elapsed"]))
    what = " ".join(str(oldest["text"]).split())[:80]
    return BusyError(
        f"an insert still runs after waiting {timeout:.0f} s: `{what}` (query {oldest['query_id']}, "
        f"started {float(oldest['elapsed']):.0f} s ago)",
        remedy=f"run this again when it is done, or end it: KILL QUERY WHERE query_id = '{oldest['query_id']}'",
    )
