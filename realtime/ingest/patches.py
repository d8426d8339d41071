"""Partial updates of an upserted source: what a row does not give stays as the newest version of its key has it.

They are merged when they come, not when they are read: what lands is a whole row, so batch and real time see the same
one. A merge is one query that reads the newest rows and inserts the merged ones; ClickHouse runs one of a source at a
time, whichever server sends it, for all carry one query id; of a cluster, whose servers do not know of each other's, a
merge that sees another one run gives way before it reads. So no update that was acknowledged is overwritten by
another that did not see it. One whose version is older than the newest changes nothing, as an older row does not. To
merge twice changes nothing more, so a try whose outcome is not known is sent again, and so are the others where a
materialized view throws on some of the merged rows: those are in the landing table then, as such rows always are.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import msgspec
from opentelemetry.trace import Span

from realtime.emit.landing import column_ddl, column_type
from realtime.emit.names import quoted
from realtime.errors import MethodError, UnavailableError
from realtime.ingest.committer import Traced, around
from realtime.ingest.request import methods
from realtime.ingest.schema import Schema
from realtime.ingest.updates import PLACE, SHAPE
from realtime.ingest.views import failing, throwing_rows
from realtime.ingest.writer import BUSY, RowsRefusedError, Writer
from realtime.planner.ir import SourceSpec

_ROWS = 20_000  # of one merge
_TRIES = 5
_PLACES = "_places"
_LACKS = "is missing, and no row has this key"
_NO_ROW = "duet: an update of no row"
_REPLICAS = "SELECT max(replica_num) AS number FROM system.clusters WHERE cluster = {cluster:String} FORMAT JSONEachRow"
_encoder = msgspec.json.Encoder()


class Patches:
    """The partial updates of ``source``, merged together where they come together; ``schema`` has read them, ``traced``
    is around their merges."""

    def __init__(self, writer: Writer, source: SourceSpec, schema: Schema, traced: Traced | None = None) -> None:
        self._writer = writer
        self._traced = traced
        self._source = source
        self._needed = frozenset(schema.needed)
        self._updates = schema.updates
        self._id = f"patch-{source.landing}"
        self._waiting: deque[_Request] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._checked = False

    async def put(self, rows: Sequence[Any], span: Span | None = None) -> dict[int, Unfit]:
        """Merges ``rows``, as `Updates` makes them, for the request of ``span``. Returns, when they are on disk, the
        places of those that are of no row that is there, and can't be a new one, and of those that make a row that a
        view can't take.

        UnavailableError where ClickHouse is not there or does not take them, or a view fails without a row's fault."""
        done: asyncio.Future[dict[int, Unfit]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(rows, done, span))
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
                while self._waiting and sum(len(r.rows) for r in together) + len(self._waiting[0].rows) <= _ROWS:
                    together.append(self._waiting.popleft())
                await self._merge(together)
        finally:
            self._worker = None

    async def _merge(self, together: Sequence[_Request]) -> None:
        rows = [row for each in together for row in each.rows]
        try:
            with around(self._traced, len(rows), [each.span for each in together]) as traceparent:
                refused = await self._merged(rows, traceparent)
        except Exception as error:
            for each in together:
                if not each.done.done():
                    each.done.set_exception(error)
            return
        start = 0
        for each in together:
            end = start + len(each.rows)
            if not each.done.done():  # it is where the caller was cancelled
                each.done.set_result({p - start: c for p, c in refused.items() if start <= p < end})
            start = end

    async def _merged(self, rows: Sequence[Any], traceparent: str) -> dict[int, Unfit]:
        """Merges those ``rows`` that can be. Which can't is only asked where the merge says that there are some."""
        await self._check_replicas()
        shapes = self._updates.number(rows)
        refused: dict[int, Unfit] = {}
        thrown: dict[int, Unfit] = {}
        tries = 0
        while tries < _TRIES:  # others may delete a row meanwhile
            kept = [row for row in rows if row.place not in refused and row.place not in thrown]
            try:
                if kept:
                    await self._writer.change(self._statement(kept, shapes), self._id, traceparent)
                return refused | thrown
            except RowsRefusedError as error:
                if error.view:  # of each view once: what it throws on is left out from then on
                    thrown |= await self._thrown(kept, shapes, error)
                    continue
                if _NO_ROW not in error.reason:
                    raise
            tries += 1
            refused = await self._refused(rows, shapes)
        raise UnavailableError("rows are deleted faster than they can be changed", remedy="send the request again")

    async def _thrown(
        self, rows: Sequence[Any], shapes: Sequence[Set[str]], error: RowsRefusedError
    ) -> dict[int, Unfit]:
        """The updates of which a row is made on which a view throws; UnavailableError where it does so on none."""
        names = [quoted(column.name) for column in self._source.columns]
        values = [f"{value} AS {name}" for value, name in zip(self._values(shapes), names, strict=True)]
        query = (
            f" formatRowNoNewline('JSONEachRow', {', '.join(names)}) AS line, {_PLACES} AS places FROM ("
            f"SELECT {', '.join(values)}, groupArray(p.{PLACE}) AS {_PLACES} {self._merged_from(rows, shapes)} "
            f"HAVING max({self._counts()}) > 0) SETTINGS join_use_nulls = 1, output_format_json_quote_denormals = 1 "
            "FORMAT JSONEachRow"
        )
        merged = await self._writer.read("SELECT", {}, _Merged, query.encode())
        found = await throwing_rows(self._writer, error.view, [each.line.encode() for each in merged])
        if not found:
            raise failing(error.view, error.reason)
        return {place: Unfit((), (why,)) for row, why in found.items() for place in merged[row].places}

    async def _refused(self, rows: Sequence[Any], shapes: Sequence[Set[str]]) -> dict[int, Unfit]:
        whole = f"has([{', '.join(self._whole(shapes))}], p.{SHAPE})"
        made = f"max({whole} AND {self._counts()}) OVER (PARTITION BY {self._grouped()})"
        query = (
            f" place, shape FROM (SELECT p.{PLACE} AS place, p.{SHAPE} AS shape, {whole} AS whole, {made} AS made, "
            f"n._there IS NULL{self._gone('')} AS none FROM {self._beside(rows, shapes)}) "
            "WHERE none AND NOT whole AND NOT made SETTINGS join_use_nulls = 1 FORMAT JSONEachRow"
        )
        found = await self._writer.read("SELECT", {}, _Place, query.encode())
        lacking = {each.place: tuple(sorted(self._needed - shapes[each.shape])) for each in found}
        return {place: Unfit(columns, (_LACKS,) * len(columns)) for place, columns in lacking.items()}

    def _statement(self, rows: Sequence[Any], shapes: Sequence[Set[str]]) -> bytes:
        columns = ", ".join(quoted(column.name) for column in self._source.columns)
        return (
            f" INTO {self._source.whole} ({columns}) SELECT {', '.join(self._values(shapes))} "
            f"{self._merged_from(rows, shapes)} "
            f"HAVING {self._alone()}{self._lacks(shapes)}max({self._counts()}) > 0 SETTINGS join_use_nulls = 1"
        ).encode()

    def _merged_from(self, rows: Sequence[Any], shapes: Sequence[Set[str]]) -> str:
        return f"FROM {self._beside(rows, shapes)} GROUP BY {self._grouped()}"

    def _beside(self, rows: Sequence[Any], shapes: Sequence[Set[str]]) -> str:
        """The updates as ``p``, each beside the row that is there as ``n``. PREWHERE, for FINAL merges all that is
        read, and takes a third of the time where that are only these keys."""
        source, key, written = self._source, self._key(), self._updates.written
        given = [column for column in source.columns if any(column.name in shape for shape in shapes)]
        structure = [f"{quoted(written[column.name])} {column_type(source, column)}" for column in given]
        structure += [f"{PLACE} UInt32", f"{SHAPE} UInt32"]
        joined = " AND ".join(f"p.{quoted(written[k])} = n.{quoted(k)}" for k in source.key)
        columns = ", ".join(quoted(column.name) for column in source.columns)
        return (
            f"{_table('JSONEachRow', structure, _encoder.encode_lines(rows))} AS p "
            f"LEFT JOIN (SELECT {columns}, true AS _there FROM {source.whole} FINAL "
            f"PREWHERE {key} IN (SELECT {key} FROM {self._keys(rows)})) AS n ON {joined}"
        )

    def _grouped(self) -> str:
        return ", ".join(f"p.{quoted(self._updates.written[k])}" for k in self._source.key)

    def _counts(self) -> str:
        """Whether an update is not older than the row that is there."""
        version = self._source.version
        return f"ifNull(p.{quoted(self._updates.written[version])} >= n.{quoted(version)}, true)"

    def _alone(self) -> str:
        """What throws where another server of the cluster runs a merge, or still stores what one has made. It is asked
        while the query is planned: it is running then, so that others see it, and has read nothing."""
        if self._source.shards is msgspec.UNSET:
            return ""
        running = f"initial_query_id = {_text(self._id)} AND (is_initial_query OR query_kind = 'Insert')"
        processes = self._writer.everywhere("system.processes")
        return f"throwIf((SELECT count() FROM {processes} WHERE {running}) > 1, '{BUSY}') + "

    async def _check_replicas(self) -> None:
        """MethodError where a shard of the cluster has several replicas: the one that is read may lack a row that
        another one took a moment ago."""
        if self._source.shards is msgspec.UNSET or self._checked:
            return
        named = {"cluster": self._source.shards.cluster}
        (found,) = await self._writer.read(_REPLICAS, named, _Number)
        if found.number > 1:
            raise MethodError(
                f"rows of source {self._source.name} can't be changed in part: a shard of cluster "
                f"{self._source.shards.cluster} has several replicas, and the one that is read may lack the newest row",
                remedy="send whole rows: POST, with a newer version",
                allowed=[method for method in methods(self._source) if method != "PATCH"],
            )
        self._checked = True

    def _lacks(self, shapes: Sequence[Set[str]]) -> str:
        """What throws where a key has no row, and an update of it is neither one nor beside one; older ones too. Added
        to what is asked else, so that it is always evaluated."""
        whole = self._whole(shapes)
        if len(whole) == len(shapes):
            return ""
        among = f"p.{SHAPE} IN ({', '.join(whole)})"
        partly = f"min({among}) = 0 AND max({among} AND {self._counts()}) = 0 AND " if whole else ""
        return f"throwIf({partly}(any(n._there) IS NULL{self._gone('any')}), '{_NO_ROW}') + "

    def _gone(self, of: str) -> str:
        """Or whether the row that is there is deleted; ``of`` is the aggregate that tells it of a key."""
        return f" OR {of}(ifNull(n.{quoted(self._source.deleted)}, false))" if self._source.deleted else ""

    def _whole(self, shapes: Sequence[Set[str]]) -> list[str]:
        """The shapes that can be a new row."""
        return [str(i) for i, shape in enumerate(shapes) if self._needed <= shape]

    def _values(self, shapes: Sequence[Set[str]]) -> list[str]:
        written = self._updates.written
        names = [column.name for column in self._source.columns]
        return [self._value(name, f"p.{quoted(written[name])}", shapes) for name in names]

    def _value(self, name: str, given: str, shapes: Sequence[Set[str]]) -> str:
        """A column of the merged row: of the newest update that gives it, else of the row that is there."""
        if name in self._source.key:
            return given
        if name == self._source.version:
            return f"max({given})"
        those = [str(i) for i, shape in enumerate(shapes) if name in shape]
        there = f"any(n.{quoted(name)})"
        if not those:
            return there
        partly = f" AND p.{SHAPE} IN ({', '.join(those)})" if len(those) < len(shapes) else ""
        gives, version = self._counts() + partly, f"p.{quoted(self._updates.written[self._source.version])}"
        newest = f"argMaxIf(tuple({given}), ({version}, p.{PLACE}), {gives}).1"
        return f"if(countIf({gives}) > 0, {newest}, {there})" if partly else newest

    def _key(self) -> str:
        return f"({', '.join(quoted(k) for k in self._source.key)})"

    def _keys(self, rows: Sequence[Any]) -> str:
        """The keys of updates as a table."""
        columns = [column for column in self._source.columns if column.name in self._source.key]
        structure = [column_ddl(self._source, column) for column in columns]
        keys = self._updates.values(rows, [column.name for column in columns])
        return _table("JSONCompactEachRow", structure, _encoder.encode_lines(list(keys)))


def _table(form: str, structure: Sequence[str], rows: bytes) -> str:
    tag = f"$t{secrets.token_hex(8)}$"
    return f"format({form}, {_text(', '.join(structure))}, {tag}{rows.decode()}{tag})"


class Unfit(NamedTuple):
    """Why an update goes to quarantine."""

    columns: tuple[str, ...]
    reasons: tuple[str, ...]


class _Request(NamedTuple):
    rows: Sequence[Any]
    done: asyncio.Future[dict[int, Unfit]]
    span: Span | None


class _Number(msgspec.Struct):
    number: int


class _Place(msgspec.Struct):
    place: int
    shape: int


class _Merged(msgspec.Struct):
    line: str
    places: list[int]


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
