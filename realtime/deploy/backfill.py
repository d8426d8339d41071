"""The rows from before a cut-over, put into a new state in chunks that count once however often they are sent.

Chunks are written to a table beside the state and moved into it at the end. Only the backfill inserts there, so
its deduplication log still knows each chunk after hours, when inserts of live rows would long have pushed a token
out of the state's own log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import from_micros, micros
from realtime.deploy.cutover import BACKFILL
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
}


def backfill(work: Work, state: State, cutover: datetime, chunk_rows: int = CHUNK_ROWS) -> None:
    """Puts all landing rows from before ``cutover`` into ``state`` and records it as complete; continues where an
    earlier deploy was stopped."""
    beside = state.relation + BACKFILL
    chunks = work.ledger.chunks(state.relation, cutover)
    if not chunks:
        chunks = list(_planned(work.client, state, cutover, chunk_rows))
        work.ledger.save_chunks(state.relation, cutover, chunks)
    if chunks:
        work.client.execute(f"CREATE TABLE IF NOT EXISTS {beside} AS {state.relation}")
    for chunk in chunks:
        work.check()
        if not chunk.done:
            insert_chunk(work, state, cutover, chunk)
            work.ledger.save_chunks(state.relation, cutover, [dataclasses.replace(chunk, done=True)])
        work.report(_progress(state, chunks, chunk))
    if chunks:
        _move(work.client, beside, state.relation)
    work.ledger.mark([state.relation], "complete", cutover)
    work.client.execute(f"DROP TABLE IF EXISTS {beside} SYNC")


def insert_chunk(work: Work, state: State, cutover: datetime, chunk: Chunk) -> None:
    """Puts one chunk into the table beside the state; again, it changes nothing."""
    view = next(view for view in state.views if view.name == chunk.view)
    columns = ", ".join(quoted(c) for c in selected(view))
    token = f"{state.relation}:{micros(cutover)}:{chunk.number}"
    work.client.execute(
        f"INSERT INTO {state.relation}{BACKFILL} ({columns})\n{narrowed(view, chunk.since, chunk.until)}",
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


def _planned(client: ClickHouse, state: State, cutover: datetime, chunk_rows: int) -> Iterator[Chunk]:
    spans = {
        landing: list(_spans(client, landing, cutover, chunk_rows)) for landing in {v.landing for v in state.views}
    }
    number = 0
    for view in state.views:
        for since, until, rows in spans[view.landing]:
            yield Chunk(number, view.name, since, until, rows)
            number += 1


def _spans(
    client: ClickHouse, landing: str, cutover: datetime, chunk_rows: int
) -> Iterator[tuple[datetime, datetime, int]]:
    """Spans of ingest time that hold about ``chunk_rows`` rows each and cover all rows before ``cutover``."""
    steps = list(_steps(client, landing, cutover, chunk_rows))
    begin, rows = 0, 0
    for index, (since, count) in enumerate(steps):
        begin = begin if rows else since
        rows += count
        last = index + 1 == len(steps)
        if last or rows + steps[index + 1][1] > chunk_rows:
            yield from_micros(begin), cutover if last else from_micros(steps[index + 1][0]), rows
            rows = 0


def _steps(client: ClickHouse, landing: str, cutover: datetime, chunk_rows: int) -> Iterator[tuple[int, int]]:
    """Rows per minute, where there are more than a chunk's per tenth of a second: (its begin, rows) in order."""
    for since, rows in _counts(client, landing, 0, micros(cutover), _MINUTE):
        if rows <= chunk_rows:
            yield since, rows
        else:
            until = min(micros(cutover), since + _MINUTE // _MICROSECOND)
            yield from _counts(client, landing, since, until, _FINE)


def _counts(client: ClickHouse, landing: str, since: int, until: int, step: timedelta) -> Sequence[tuple[int, int]]:
    width = step // _MICROSECOND
    rows = client.rows(
        f"SELECT intDiv(toUnixTimestamp64Micro({INGESTED_AT}), {width}) * {width} AS since, count() AS rows "
        f"FROM {landing} WHERE {INGESTED_AT} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC') "
        f"AND {INGESTED_AT} < fromUnixTimestamp64Micro({{until:Int64}}, 'UTC') GROUP BY since ORDER BY since",
        {"since": since, "until": until},
    )
    return [(int(row["since"]), int(row["rows"])) for row in rows]


def _progress(state: State, chunks: Sequence[Chunk], chunk: Chunk) -> str:
    rows = sum(c.rows for c in chunks[: chunk.number + 1])
    return f"backfill of {state.name}: {rows:,} of {sum(c.rows for c in chunks):,} rows"
