"""Partial updates of an upserted source: what a row does not give stays as the newest version of its key has it.

They are merged when they come, not when they are read: what lands is a whole row, so batch and real time see the same
one. A merge is one query that reads the newest rows and inserts the merged ones; ClickHouse runs one of a source at a
time, whichever server sends it, for all carry one query id. So no update that was acknowledged is overwritten by
another that did not see it. One whose version is older than the newest changes nothing, as an older row does not. To
merge twice changes nothing more, so a try whose outcome is not known is sent again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from realtime.emit.landing import column_ddl
from realtime.emit.names import quoted
from realtime.ingest.writer import Writer
from realtime.planner.ir import SourceSpec

_ROWS = 20_000  # of one merge
_GIVEN, _PLACE, _WHOLE = "_given", "_place", "_whole"
_encoder = msgspec.json.Encoder()

Values = Mapping[str, Any]


class Patches:
    """The partial updates of ``source``, merged together where they come together. ``needed`` are the columns without
    which there can be no new row."""

    def __init__(self, writer: Writer, source: SourceSpec, needed: Sequence[str]) -> None:
        self._writer = writer
        self._source = source
        self._needed = frozenset(needed)
        self._id = f"patch-{source.landing}"
        self._waiting: deque[tuple[Sequence[Values], asyncio.Future[dict[int, tuple[str, ...]]]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def put(self, rows: Sequence[Values]) -> dict[int, tuple[str, ...]]:
        """Merges ``rows``, each the values of the columns that it gives. Returns, when they are on disk, the places of
        those that are of no row that is there, and can't be a new one, with the columns that they lack.

        UnavailableError where ClickHouse is not there or does not take them."""
        done: asyncio.Future[dict[int, tuple[str, ...]]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, done))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await done

    async def drain(self) -> None:
        """Returns when nothing waits any more."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        try:
            while self._waiting:
                together = [self._waiting.popleft()]
                while self._waiting and sum(len(r) for r, _ in together) + len(self._waiting[0][0]) <= _ROWS:
                    together.append(self._waiting.popleft())
                await self._merge(together)
        finally:
            self._worker = None

    async def _merge(
        self, together: Sequence[tuple[Sequence[Values], asyncio.Future[dict[int, tuple[str, ...]]]]]
    ) -> None:
        rows = [row for each, _ in together for row in each]
        try:
            refused = await self._refused(rows)
            kept = [place for place in range(len(rows)) if place not in refused]
            if kept:
                await self._writer.change(self._statement(rows, kept), self._id)
        except Exception as error:
            for _, done in together:
                if not done.done():
                    done.set_exception(error)
            return
        start = 0
        for each, done in together:
            if not done.done():  # it is where the caller was cancelled
                done.set_result({p - start: c for p, c in refused.items() if start <= p < start + len(each)})
            start += len(each)

    async def _refused(self, rows: Sequence[Values]) -> dict[int, tuple[str, ...]]:
        lacking = {place: tuple(sorted(self._needed - set(row))) for place, row in enumerate(rows)}
        lacking = {place: columns for place, columns in lacking.items() if columns}
        if not lacking:
            return {}
        gone = f" AND NOT ifNull({quoted(self._source.deleted)}, false)" if self._source.deleted else ""
        key, given = self._key(), self._given(rows, range(len(rows)))
        query = (
            f"SELECT {_PLACE} AS place FROM {given} AS p WHERE NOT {_WHOLE} AND {key} NOT IN (SELECT {key} FROM "
            f"{self._source.landing} FINAL WHERE {key} IN (SELECT {key} FROM {given}){gone}) "
            f"AND {key} NOT IN (SELECT {key} FROM {given} WHERE {_WHOLE}) FORMAT JSONEachRow"
        )
        found = await self._writer.read("SELECT", {}, _Place, query.removeprefix("SELECT").encode())
        return {each.place: lacking[each.place] for each in found}

    def _statement(self, rows: Sequence[Values], places: Sequence[int]) -> bytes:
        source, key = self._source, self._key()
        names = [c.name for c in source.columns]
        given = self._given(rows, places)
        joined = " AND ".join(f"p.{quoted(k)} = n.{quoted(k)}" for k in source.key)
        newest = ", ".join(quoted(name) for name in names)
        version = quoted(source.version)
        return (
            f" INTO {source.landing} ({newest}) SELECT {', '.join(self._merged(name) for name in names)} "
            f"FROM {given} AS p LEFT JOIN (SELECT {newest}, true AS _there FROM {source.landing} FINAL "
            f"WHERE {key} IN (SELECT {key} FROM {given})) AS n ON {joined} "
            f"WHERE n._there IS NULL OR p.{version} >= n.{version} "
            f"GROUP BY {', '.join(f'p.{quoted(k)}' for k in source.key)} SETTINGS join_use_nulls = 1"
        ).encode()

    def _merged(self, name: str) -> str:
        """A column of the merged row: of the newest update that gives it, else of the row that is there."""
        column = quoted(name)
        if name in self._source.key:
            return f"p.{column}"
        if name == self._source.version:
            return f"max(p.{column})"
        gives = f"has(p.{_GIVEN}, {_text(name)})"
        newest = f"argMaxIf(tuple(p.{column}), (p.{quoted(self._source.version)}, p.{_PLACE}), {gives}).1"
        return f"if(countIf({gives}) > 0, {newest}, any(n.{column}))"

    def _key(self) -> str:
        return f"({', '.join(quoted(k) for k in self._source.key)})"

    def _given(self, rows: Sequence[Values], places: Sequence[int]) -> str:
        """The updates as a table."""
        structure = [*(column_ddl(self._source, c) for c in self._source.columns)]
        structure += [f"{_GIVEN} Array(String)", f"{_PLACE} UInt32", f"{_WHOLE} Bool"]
        lines = _encoder.encode_lines(
            [{**rows[p], _GIVEN: list(rows[p]), _PLACE: p, _WHOLE: self._needed <= set(rows[p])} for p in places]
        )
        tag = f"$t{secrets.token_hex(8)}$"
        return f"format(JSONEachRow, {_text(', '.join(structure))}, {tag}{lines.decode()}{tag})"


class _Place(msgspec.Struct):
    place: int


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
