"""What the console shows of the database: rows, ages, rates and traffic, each read at most once in some seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from realtime.deploy.freshness import REFRESHES, TABLES, Fresh, ages
from realtime.planner.ir import Plan, SourceSpec
from realtime.serving.upstream import RefusedQueryError, Upstream

_LOG = logging.getLogger("duet.console")
_KEPT = 4.0
"""Seconds that an answer is used again, whoever asks."""
_LIMITS = " SETTINGS max_execution_time = 5, max_threads = 1 FORMAT JSONEachRow"
_SIZES = """
SELECT concat(database, '.', name) AS relation, total_rows AS rows, total_bytes AS bytes FROM system.tables
WHERE database IN ({raw:String}, {state:String})
"""
_TRAFFIC = """
SELECT name, version, tag, status, sum(calls) AS n, sum(total_ms) / n AS mean_ms, max(max_ms) AS most_ms,
  toUnixTimestamp(max(traffic.at)) AS last
FROM {database:Identifier}.traffic WHERE traffic.at >= now() - INTERVAL 1 DAY
GROUP BY name, version, tag, status ORDER BY name, version, tag, status
"""
_QUARTERS = """
SELECT name, toUnixTimestamp(toStartOfInterval(traffic.at, INTERVAL 15 MINUTE)) AS since, sum(calls) AS n,
  sumIf(calls, status >= 400) AS failed
FROM {database:Identifier}.traffic WHERE traffic.at >= now() - INTERVAL 1 DAY GROUP BY name, since ORDER BY name, since
"""
_VERSIONS = """
SELECT name, version, toUnixTimestamp(max(lambdas.at)) AS since FROM {database:Identifier}.lambdas
GROUP BY name, version ORDER BY since
"""
_DEPLOYED = """
SELECT id, toUnixTimestamp(deployments.at) AS since FROM {database:Identifier}.deployments
ORDER BY deployments.at DESC, id DESC LIMIT 1
"""
# One query for all sources. The index on _ingested_at leaves the parts of the last hour to be read.
_RATES = """
SELECT _table AS name, toUnixTimestamp(toStartOfMinute(_ingested_at)) AS minute, count() AS n
FROM merge({database:String}, {tables:String}) WHERE _ingested_at >= toStartOfMinute(now() - INTERVAL 59 MINUTE)
GROUP BY name, minute ORDER BY name, minute
"""
_WAITING = """
SELECT _table AS name, count() AS n, toUnixTimestamp(max(received_at)) AS last
FROM merge({database:String}, {tables:String}) FINAL WHERE NOT replayed GROUP BY name
"""
_NEWEST = """
SELECT _table AS name, toUnixTimestamp(received_at) AS at, columns, reasons, substringUTF8(row, 1, 400) AS text
FROM merge({database:String}, {tables:String}) FINAL WHERE NOT replayed AND received_at >= now() - INTERVAL 7 DAY
ORDER BY received_at DESC LIMIT 5 BY name
"""
Rows = list[dict[str, Any]]
_decoder = msgspec.json.Decoder(dict[str, Any])


class Observed:
    """Reads through ``upstream`` what is known of the lambdas, models and sources of ``database``.

    What one query can't tell is None, and the log says why; UnavailableError where the database does not answer.
    """

    def __init__(self, upstream: Upstream, database: str) -> None:
        self._upstream = upstream
        self._database = database
        self._known: dict[str, tuple[float, asyncio.Task[Any]]] = {}

    async def traffic(self) -> dict[str, Rows | None]:
        """Calls of the last day: by version, tag and status, and by quarters of an hour."""
        calls, quarters = await asyncio.gather(self._own("traffic", _TRAFFIC), self._own("quarters", _QUARTERS))
        return {"calls": calls, "quarters": quarters}

    async def versions(self) -> Rows | None:
        """When each version of a lambda was deployed last."""
        return await self._own("versions", _VERSIONS)

    async def deployed(self) -> int | None:
        """When the active plan was deployed, in seconds since 1970."""
        rows = await self._own("deployed", _DEPLOYED)
        return rows[0]["since"] if rows else None

    async def sizes(self) -> dict[str, dict[str, Any]]:
        """Rows and bytes by relation: of landing tables, quarantines and states."""
        kept = {"raw": f"{self._database}_raw", "state": f"{self._database}_state"}
        return {row["relation"]: row for row in await self._rows("sizes", _SIZES, kept) or ()}

    async def ages(self, plan: Plan) -> dict[str, Fresh]:
        """How old the rows are of the models that are refreshed or published."""
        if not any(step.refresh or step.published for step in plan.steps):
            return {}
        kept = {"database": f"{self._database}_state"}
        tables, views = await self._rows("tables", TABLES, kept), await self._rows("refreshes", REFRESHES, kept)
        return {} if tables is None or views is None else {found.model: found for found in ages(plan, tables, views)}

    async def rates(self, sources: Sequence[SourceSpec]) -> Rows | None:
        """Rows per minute of each landing table in the last hour."""
        return await self._merged("rates", _RATES, [s.landing for s in sources])

    async def quarantined(self, sources: Sequence[SourceSpec]) -> tuple[Rows | None, Rows | None]:
        """Rows that wait in each quarantine, and the newest ones of the last seven days."""
        tables = [s.quarantine for s in sources]
        return await self._merged("waiting", _WAITING, tables), await self._merged("newest", _NEWEST, tables)

    async def _own(self, what: str, sql: str) -> Rows | None:
        return await self._rows(what, sql, {"database": f"{self._database}_duet"})

    async def _merged(self, what: str, sql: str, relations: Sequence[str]) -> Rows | None:
        """Of those ``relations`` that exist: right after a plan was written there may be none."""
        sizes = await self.sizes()
        names = sorted(table_name(r) for r in relations if r.replace("`", "") in sizes)
        if not names:
            return []
        kept = {"database": f"{self._database}_raw", "tables": f"^({'|'.join(map(_literal, names))})$"}
        return await self._rows(f"{what} {kept['tables']}", sql, kept)

    async def _rows(self, what: str, sql: str, parameters: dict[str, str]) -> Rows | None:
        async def read() -> Rows | None:
            try:
                found = await self._upstream.read(sql + _LIMITS, parameters)
            except RefusedQueryError as error:
                _LOG.warning("not known", extra={"fields": {"what": what, "clickhouse": error.message}})
                return None
            return [_decoder.decode(line) for line in found.splitlines()]

        return await self._shared(what, read)

    async def _shared(self, what: str, read: Callable[[], Coroutine[Any, Any, Rows | None]]) -> Rows | None:
        """What was read lately, or is being read for somebody else. A failure is not kept."""
        until, task = self._known.get(what, (0.0, None))
        if task is None or time.monotonic() > until or (task.done() and (task.cancelled() or task.exception())):
            self._known = {k: v for k, v in self._known.items() if v[0] > time.monotonic()}
            task = asyncio.create_task(read())
            self._known[what] = (time.monotonic() + _KEPT, task)
        found: Rows | None = await asyncio.shield(task)
        return found


def table_name(relation: str) -> str:
    """The table of ``database.table``, without quotes."""
    return relation.partition(".")[2].replace("`", "")


def _literal(name: str) -> str:
    """``name`` in a regular expression of ClickHouse's, where a word needs no escapes."""
    return "".join(c if c.isalnum() or c == "_" else f"\\x{{{ord(c):x}}}" for c in name)
