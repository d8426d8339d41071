"""The rows from before a cut-over, put into a new state in chunks that count once however often they are sent.

Chunks are written to a table beside the state and moved into it at the end. Only the backfill inserts there, so
its deduplication log still knows each chunk after hours, when inserts of live rows would long have pushed a token
out of the state's own log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timedelta

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import EPOCH, from_micros, micros
from realtime.deploy.cutover import BACKFILL
from realtime.deploy.lake import LAKE, NO_LAKES, Lake
from realtime.deploy.ledger import Chunk, Work
from realtime.deploy.narrow import narrowed, selected
from realtime.emit.landing import INGESTED_AT
from realtime.emit.names import quoted
from realtime.planner.ir import State

CHUNK_ROWS = 1_000_000
"""Rows a chunk should have; rows of one insert carry one time and are never split."""

_MINUTE = timedelta(minutes=1)
_FINE = timedelta(milliseconds=100)
_MICROSECOND = timedelta(microseconds=1)

# One block a chunk: a token stands for one block, and how a chunk fell into several would differ between tries.
_ONE_BLOCK = {
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 0,
    "max_partitions_per_insert_block": 0,
    # What does not fit goes to disk: how many groups a chunk has, nobody knows before.
    "max_bytes_before_external_group_by": 1 << 30,
}


def backfill(
    work: Work, state: State, cutover: datetime, chunk_rows: int = CHUNK_ROWS, lakes: Mapping[str, Lake] = NO_LAKES
) -> None:
    """Puts all landing rows from before ``cutover`` into ``state`` and records it as complete; continues where an
    earlier deploy was stopped. ``lakes``, by landing table, hold rows that the landing tables do not hold any more."""
    beside = state.relation + BACKFILL
    chunks = work.ledger.chunks(state.relation, cutover)
    if not chunks:
        chunks = list(_planned(work.client, state, cutover, chunk_rows, lakes))
        work.ledger.save_chunks(state.relation, cutover, chunks)
    if chunks:
        work.client.execute(f"CREATE TABLE IF NOT EXISTS {beside} AS {state.relation}")
        work.report(_begun(state, chunks))
        _insert_all(work, state, cutover, chunks)
        _move(work.client, beside, state.relation)
    work.ledger.mark([state.relation], "complete", cutover)
    work.client.execute(f"DROP TABLE IF EXISTS {beside} SYNC")


def _insert_all(work: Work, state: State, cutover: datetime, chunks: Sequence[Chunk]) -> None:
    """Puts in the chunks that are not done yet, some at a time; where one fails no other begins."""
    total, label = sum(c.rows for c in chunks), f"backfill of {state.name}"
    done = sum(c.rows for c in chunks if c.done)
    work.progress(label, done, total)

    def put(chunk: Chunk) -> int:
        work.check()
        insert_chunk(work, state, cutover, chunk)
        work.ledger.save_chunks(state.relation, cutover, [dataclasses.replace(chunk, done=True)])
        return chunk.rows

    with ThreadPoolExecutor(work.threads) as pool:
        running = [pool.submit(put, chunk) for chunk in chunks if not chunk.done]
        try:
            for finished in as_completed(running):
                done += finished.result()
                work.progress(label, done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def insert_chunk(work: Work, state: State, cutover: datetime, chunk: Chunk) -> None:
    """Puts one chunk into the table beside the state; again, it changes nothing."""
    view = next(view for view in state.views if view.name == chunk.view)
    columns = ", ".join(quoted(c) for c in selected(view))
    token = f"{state.relation}:{micros(cutover)}:{chunk.number}"
    select = narrowed(view, chunk.since, chunk.until, table=chunk.source if chunk.source != view.landing else "")
    work.client.execute(
        f"INSERT INTO {state.relation}{BACKFILL} ({columns})\n{select}",
        settings={**_ONE_BLOCK, "insert_deduplication_token": token, "log_comment": work.comment},
    )


def _move(client: ClickHouse, beside: str, table: str) -> None:
    """Moves whole partitions: each is in one table or the other, so this can be repeated."""
    database, name = beside.split(".")
    partitions = client.rows(
        "SELECT DISTINCT partition_id FROM system.parts WHERE database = {database:String} AND table = {name:String} "
        "AND active ORDER BY partition_id",
        {"database": database, "name": name},
    )
    for row in partitions:
        client.execute(f"ALTER TABLE {beside} MOVE PARTITION ID '{row['partition_id']}' TO TABLE {table}")


def _planned(
    client: ClickHouse, state: State, cutover: datetime, chunk_rows: int, lakes: Mapping[str, Lake]
) -> Iterator[Chunk]:
    """Chunks of every view: of the lake up to where it goes, of the landing table from there on. So each row is read
    once, though both may hold it."""
    spans: dict[str, list[tuple[str, datetime, datetime, int]]] = {}
    for landing in {view.landing for view in state.views}:
        lake = lakes.get(landing)
        until = min(lake.watermark, cutover) if lake is not None else EPOCH
        parts = [(lake.table, EPOCH, until)] if lake is not None else []
        parts.append((landing, until, cutover))
        spans[landing] = [
            (table, *span) for table, first, last in parts for span in _spans(client, table, first, last, chunk_rows)
        ]
    number = 0
    for view in state.views:
        for table, since, until, rows in spans[view.landing]:
            yield Chunk(number, view.name, table, since, until, rows)
            number += 1


def _spans(
    client: ClickHouse, table: str, first: datetime, last: datetime, chunk_rows: int
) -> Iterator[tuple[datetime, datetime, int]]:
    """Spans of ingest time that hold about ``chunk_rows`` rows each and cover all rows of ``table`` from ``first``
    (included) to ``last`` (not)."""
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


def _begun(state: State, chunks: Sequence[Chunk]) -> str:
    rows, done = sum(c.rows for c in chunks), sum(c.rows for c in chunks if c.done)
    earlier = f", {done:,} of them done by an earlier deploy" if done else ""
    lake = sum(c.rows for c in chunks if c.source.endswith(LAKE))
    return f"backfill of {state.name}: {rows:,} rows" + (f", {lake:,} of them from the lake" if lake else "") + earlier
