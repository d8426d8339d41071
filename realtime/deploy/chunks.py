"""Which rows each chunk of a backfill has: told by values in the rows, so that merges between chunks change nothing.

By the time at which rows came, where parts follow it. Where parts were merged by key, rows of all times are in each of
them, and every such chunk would read the whole table; so there chunks are ranges of the table's sorting key.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import sqlglot
from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import EPOCH, from_micros, micros
from realtime.deploy.lake import Lake
from realtime.deploy.ledger import Chunk
from realtime.emit.landing import INGESTED_AT
from realtime.emit.names import quoted
from realtime.planner.ir import ALL, State
from realtime.transpile.form import column, form, render

CHUNK_ROWS = 1_000_000
"""Rows a chunk should have; rows of one insert carry one time and are never split."""
MOST_CHUNKS = 64
"""Chunks of one table at most, that their tables stay few; so those of large tables have more rows."""
_MOST_READ = 1.5
"""Times that all chunks by time together may read the table; chunks by key read little more than it has."""

_MINUTE = timedelta(minutes=1)
_FINE = timedelta(milliseconds=100)
_MICROSECOND = timedelta(microseconds=1)

_EXACT = re.compile(r"U?Int\d+|String|UUID|Date|Date32|DateTime64\(.*\)|Decimal\(.*\)")
"""Types whose values have one text each, and are compared as they are sorted: NaN is not."""
_LONGEST = 1_000
"""Characters of a key up to which it may begin a chunk."""

_Span = tuple[datetime, datetime, int]


def planned(
    client: ClickHouse, state: State, cutover: datetime, chunk_rows: int, lakes: Mapping[str, Lake]
) -> Iterator[Chunk]:
    """Chunks of every view: of the lake up to where it goes, of the landing table from there on. So each row is read
    once, though both may hold it."""
    found = {}
    for landing in {view.landing for view in state.views}:
        lake = lakes.get(landing)
        until = min(lake.watermark, cutover) if lake is not None else EPOCH
        before = _spans(client, lake.table, EPOCH, until, chunk_rows) if lake is not None else ()
        found[landing] = [Chunk(0, "", lake.table, *span) for span in before] if lake is not None else []
        found[landing] += _of_landing(client, landing, until, cutover, chunk_rows)
    chunks = ((view, chunk) for view in state.views for chunk in found[view.landing])
    for number, (view, c) in enumerate(chunks):
        yield Chunk(number, view.name, c.source, c.since, c.until, c.rows, within=c.within)


def whole(relation: str, client: ClickHouse) -> str:
    """The table over all shards."""
    return relation + ALL if client.cluster else relation


def _of_landing(client: ClickHouse, landing: str, first: datetime, last: datetime, chunk_rows: int) -> list[Chunk]:
    source = whole(landing, client)
    spans = list(_spans(client, source, first, last, chunk_rows))
    if reread(client, landing, spans):
        conditions = ranges(client, landing, len(spans))
        if len(conditions) > 1:
            rows = sum(count for _, _, count in spans)
            ends = [rows * i // len(conditions) for i in range(len(conditions) + 1)]  # what each has is not counted
            counts = [after - before for before, after in itertools.pairwise(ends)]
            return [Chunk(0, "", source, first, last, n, within=w) for n, w in zip(counts, conditions, strict=True)]
    return [Chunk(0, "", source, *span) for span in spans]


def reread(client: ClickHouse, landing: str, spans: Sequence[_Span]) -> bool:
    """Whether ClickHouse, reading each of ``spans`` of time, reads much of ``landing`` more than once: by what it
    estimates for the parts that are on this server."""
    if len(spans) < 2:
        return False
    read = 0
    for since, until, _ in spans:
        estimate = client.rows(
            f"EXPLAIN ESTIMATE SELECT {INGESTED_AT} FROM {landing} "
            f"WHERE {INGESTED_AT} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC') "
            f"AND {INGESTED_AT} < fromUnixTimestamp64Micro({{until:Int64}}, 'UTC')",
            {"since": micros(since), "until": micros(until)},
        )
        read += sum(int(row["rows"]) for row in estimate)
    return read > _MOST_READ * int(client.value(f"SELECT count() FROM {landing}"))


def ranges(client: ClickHouse, landing: str, number: int) -> list[str]:
    """Conditions on the sorting key of ``landing``, at most ``number``, of which each row fulfils exactly one. They
    begin where the primary index of this server's parts says that so many have about equally many rows."""
    key = _key(client, landing)
    if not key:
        return []
    names = ", ".join(quoted(name) for name in key)
    texts = ", ".join(
        f"{'hex' if _bare(kind) == 'String' else 'toString'}({quoted(name)}) AS text_{i}"
        for i, (name, kind) in enumerate(key.items())
    )
    known = " AND ".join(f"text_{i} IS NOT NULL AND length(text_{i}) <= {_LONGEST}" for i in range(len(key)))
    index = "mergeTreeIndex({database:String}, {table:String})"
    database, table = landing.split(".")
    rows = client.rows(
        f"SELECT {', '.join(f'text_{i}' for i in range(len(key)))} FROM ("
        f"SELECT {names}, {texts}, sum(rows_in_granule) OVER (ORDER BY {names} ROWS UNBOUNDED PRECEDING) "
        f"- rows_in_granule AS before, (SELECT sum(rows_in_granule) FROM {index}) AS total FROM {index} "
        f"WHERE rows_in_granule > 0) WHERE {known} "
        f"ORDER BY before, {names} LIMIT 1 BY intDiv(before * {number}, total)",
        {"database": database, "table": table},
    )
    starts = list(dict.fromkeys(tuple(row.values()) for row in rows))[1:]
    ends: list[tuple[str, ...] | None] = [None, *starts, None]
    return [_between(key, low, high) for low, high in itertools.pairwise(ends)] if starts else []


def _key(client: ClickHouse, landing: str) -> dict[str, str]:
    """The columns by which ``landing`` is sorted, with their types, up to the first whose type is not `_EXACT`."""
    database, table = landing.split(".")
    where = {"database": database, "table": table}
    at = "WHERE database = {database:String} AND"
    key = client.value(f"SELECT primary_key FROM system.tables {at} name = {{table:String}}", where)
    rows = client.rows(f"SELECT name, type FROM system.columns {at} table = {{table:String}}", where)
    types = {row["name"]: str(row["type"]) for row in rows}
    found = {}
    for shown in sqlglot.parse_one(f"tuple({key})", dialect="clickhouse").iter_expressions():
        part = shown.unnest()  # one column is shown in parentheses
        kind = types[part.name] if isinstance(part, exp.Column) else ""
        if not _EXACT.fullmatch(_bare(kind)):
            break
        found[part.name] = kind
    return found


def _bare(kind: str) -> str:
    """The type without its Nullable."""
    return kind[len("Nullable(") : -1] if kind.startswith("Nullable(") else kind


def _between(key: Mapping[str, str], low: Sequence[str] | None, high: Sequence[str] | None) -> str:
    """The condition on rows whose ``key`` is at least ``low`` and below ``high``, each written out: of a comparison of
    tuples ClickHouse reads every row (26.7)."""
    parts = []
    if low is not None:
        parts.append(_compared(list(key.items()), low, above=True))
    if high is not None:
        parts.append(_compared(list(key.items()), high, above=False))
    return render(exp.and_(*parts))


def _compared(key: Sequence[tuple[str, str]], values: Sequence[str], *, above: bool) -> exp.Expr:
    """Whether the columns of ``key`` are at least, or below, ``values`` in the table's order, in which NULL is last."""
    (name, kind), *others = key
    x, value = column(name), _value(kind, values[0])
    if others:
        beyond = form("x > y" if above else "x < y", x=x, y=value)
        found = [beyond, exp.and_(form("x = y", x=x, y=value), _compared(others, values[1:], above=above))]
    else:
        found = [form("x >= y" if above else "x < y", x=x, y=value)]
    if above and kind != _bare(kind):
        found.append(form("isNull(x)", x=x))
    return exp.paren(exp.or_(*found))


def _value(kind: str, text: str) -> exp.Expr:
    if _bare(kind) == "String":
        return form("unhex(text)", text=text)
    return form("accurateCast(text, kind)", text=text, kind=_bare(kind))


def _spans(client: ClickHouse, table: str, first: datetime, last: datetime, chunk_rows: int) -> Iterator[_Span]:
    """Spans of ingest time that hold about ``chunk_rows`` rows each, or a `MOST_CHUNKS`th of all, and cover all rows of
    ``table`` from ``first`` (included) to ``last`` (not)."""
    chunk_rows = max(chunk_rows, int(client.value(f"SELECT count() FROM {table}")) // MOST_CHUNKS)
    steps = list(_steps(client, table, first, last, chunk_rows))
    begin, rows = 0, 0
    for index, (since, count) in enumerate(steps):
        begin = begin if rows else max(since, micros(first))
        rows += count
        at_end = index + 1 == len(steps)
        if at_end or rows + steps[index + 1][1] > chunk_rows:
            yield from_micros(begin), last if at_end else from_micros(steps[index + 1][0]), rows
            rows = 0


def _steps(
    client: ClickHouse, table: str, first: datetime, last: datetime, chunk_rows: int
) -> Iterator[tuple[int, int]]:
    """Rows per minute, where there are more than a chunk's per tenth of a second: (its begin, rows) in order."""
    for since, rows in _counts(client, table, micros(first), micros(last), _MINUTE):
        if rows <= chunk_rows:
            yield since, rows
        else:
            begin, until = max(since, micros(first)), min(micros(last), since + _MINUTE // _MICROSECOND)
            yield from _counts(client, table, begin, until, _FINE)


def _counts(client: ClickHouse, table: str, since: int, until: int, step: timedelta) -> Sequence[tuple[int, int]]:
    width = step // _MICROSECOND
    rows = client.rows(
        f"SELECT intDiv(toUnixTimestamp64Micro({INGESTED_AT}), {width}) * {width} AS since, count() AS rows "
        f"FROM {table} WHERE {INGESTED_AT} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC') "
        f"AND {INGESTED_AT} < fromUnixTimestamp64Micro({{until:Int64}}, 'UTC') GROUP BY since ORDER BY since",
        {"since": since, "until": until},
    )
    return [(int(row["since"]), int(row["rows"])) for row in rows]
