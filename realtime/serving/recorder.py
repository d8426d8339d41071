"""A sample of calls and how often each version is called, in ``<database>_duet.calls`` and ``.traffic``.

What `duet lambda diff` replays, and what the console shows. Calls are counted and sampled in memory and written every
ten seconds; a server that is killed loses those of the last ten.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections.abc import Mapping
from typing import Any

import msgspec

from realtime.errors import DuetError
from realtime.serving.upstream import RefusedQueryError, Upstream

CALLS = (
    "name String, version String, tag String, at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'), parameters String, "
    "ms Float32",
    "MergeTree ORDER BY (name, at) TTL toDateTime(at) + INTERVAL 7 DAY",
)
"""Columns and engine of ``calls``; ``parameters`` is the call's JSON body, the clock included."""
TRAFFIC = (
    "name String, version String, tag String, status UInt16, at DateTime('UTC') DEFAULT now('UTC'), calls UInt64, "
    "total_ms Float64, max_ms Float64",
    "MergeTree ORDER BY (name, at) TTL at + INTERVAL 30 DAY",
)
"""Columns and engine of ``traffic``: one row per version, tag, status and ten seconds."""
EVERY = 10.0
_LOG = logging.getLogger("duet.recorder")
_ENCODER = msgspec.json.Encoder(enc_hook=str)


@dataclasses.dataclass
class _Counted:
    calls: int = 0
    total_ms: float = 0
    max_ms: float = 0


class Recorder:
    """Keeps at most ``sample`` calls of a lambda per ten seconds, each with the same chance; 0: none."""

    def __init__(self, upstream: Upstream, database: str, sample: int) -> None:
        self._upstream = upstream
        self._database = f"{database}_duet"
        self._sample = sample
        self._counted: dict[tuple[str, str, str, int], _Counted] = {}
        self._kept: dict[str, list[dict[str, Any]]] = {}
        self._seen: dict[str, int] = {}

    def count(self, name: str, version: str, tag: str, status: int, ms: float) -> None:
        """Counts a call that is done."""
        found = self._counted.setdefault((name, version, tag, status), _Counted())
        found.calls += 1
        found.total_ms += ms
        found.max_ms = max(found.max_ms, ms)

    def keep(self, name: str, version: str, tag: str, given: Mapping[str, Any], ms: float) -> None:
        """Keeps an answered call, if chance will have it."""
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        kept = self._kept.setdefault(name, [])
        place = len(kept) if seen <= self._sample else random.randrange(seen)
        if place >= self._sample:
            return
        body = _ENCODER.encode(given).decode()
        row = {"name": name, "version": version, "tag": tag, "parameters": body, "ms": ms}
        if place < len(kept):
            kept[place] = row
        else:
            kept.append(row)

    async def run(self) -> None:
        """Writes every ten seconds, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Writes what there is. What can't be written is lost, and the log says so."""
        counted, kept = self._counted, self._kept
        self._counted, self._kept, self._seen = {}, {}, {}
        traffic = [
            {"name": name, "version": version, "tag": tag, "status": status, **dataclasses.asdict(found)}
            for (name, version, tag, status), found in counted.items()
        ]
        await self._write("traffic", traffic)
        await self._write("calls", [row for rows in kept.values() for row in rows])

    async def _write(self, table: str, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        body = b"\n".join(map(msgspec.json.encode, rows))
        try:
            await self._upstream.write(f"INSERT INTO `{self._database}`.{table} FORMAT JSONEachRow", body)
        except (DuetError, RefusedQueryError) as error:
            _LOG.warning("calls are not recorded", extra={"fields": {"table": table, "error": str(error)}})
