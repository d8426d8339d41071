"""The rows from before a cut-over, put into a new state in chunks that count once whatever is killed.

Each try of a chunk writes to a table of its own beside the state, and the chunk is recorded as done when its table is
filled: a try that was killed leaves a table that nobody reads and that is dropped. When all chunks are done the state
is recorded as *entering*, and the tables' partitions are moved into it; each is in one table or the other, so that a
deploy that was killed goes on. Only where ClickHouse itself is killed in the middle of a move, it may come up with a
partition in both tables. A row in a table in memory tells: where it is gone, the state is begun anew (see
`Ledger.interrupted`).
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.chunks import CHUNK_ROWS, planned, whole
from realtime.deploy.lake import LAKE, NO_LAKES, Lake
from realtime.deploy.ledger import Chunk, Work
from realtime.deploy.narrow import narrowed, selected
from realtime.deploy.replace import drop_table
from realtime.emit.names import quoted
from realtime.emit.shards import create_whole
from realtime.errors import FullError
from realtime.planner.ir import State

BACKFILL = "__backfill"
_MOST_PARTS = 4
"""Parts in a partition from which on a chunk's are merged before they enter: the state has to take all of them."""

_SETTINGS = {
    "max_insert_threads": 1,
    "max_partitions_per_insert_block": 0,
    "insert_deduplicate": 0,
    # What does not fit goes to disk: how many groups a chunk has, nobody knows before.
    "max_bytes_before_external_group_by": 1 << 30,
}


def backfill(
    work: Work, state: State, cutover: datetime, chunk_rows: int = CHUNK_ROWS, lakes: Mapping[str, Lake] = NO_LAKES
) -> None:
    """Puts all landing rows from before ``cutover`` into ``state`` and records it as complete; continues where an
    earlier deploy was stopped. ``lakes``, by landing table, hold rows that the landing tables do not hold any more.

    FullError where the disk has no room for them: what was written is gone then, so that rows can come in.
    """
    phase = work.ledger.phase(state.relation)
    if phase == "complete":
        return
    if phase != "entering":
        chunks = _chunks(work, state, cutover, chunk_rows, lakes)
        if chunks:
            work.report(_begun(state, chunks))
            try:
                _insert_all(work, state, cutover, chunks)
            except FullError:
                drop_chunk_tables(work.client, state.relation)  # inserts need the room
                raise
            work.ledger.enter(state.relation, cutover)
    tables = chunk_tables(work.client, state.relation)
    for table in tables:
        work.check()
        _move(work.client, table, state.relation)
    work.ledger.mark([state.relation], "complete", cutover)
    drop_chunk_tables(work.client, state.relation)


def chunk_tables(client: ClickHouse, relation: str) -> dict[str, int]:
    """The tables that tries of chunks of the state ``relation`` were written to, with the chunk's number."""
    database, name = relation.split(".")
    prefix = f"{name}{BACKFILL}_"
    rows = client.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String}) "
        "AND engine != 'Distributed' ORDER BY name",
        {"database": database, "prefix": prefix},
    )
    return {f"{database}.{r['name']}": int(r["name"].removeprefix(prefix).partition("_")[0]) for r in rows}


def drop_chunk_tables(client: ClickHouse, relation: str, kept: Container[int] = ()) -> None:
    """Drops the tables of all chunks of the state ``relation`` but those whose numbers are ``kept``."""
    for table, number in chunk_tables(client, relation).items():
        if number not in kept:
            drop_table(client, table)


def _chunks(work: Work, state: State, cutover: datetime, chunk_rows: int, lakes: Mapping[str, Lake]) -> Sequence[Chunk]:
    """The chunks of the backfill, those of an earlier deploy where there are some; what its tries left is dropped."""
    chunks = work.ledger.chunks(state.relation, cutover)
    if not chunks:
        chunks = list(planned(work.client, state, cutover, chunk_rows, lakes))
        work.ledger.save_chunks(state.relation, cutover, chunks)
    drop_chunk_tables(work.client, state.relation, kept={chunk.number for chunk in chunks if chunk.done})
    there = frozenset(chunk_tables(work.client, state.relation).values())
    return [dataclasses.replace(chunk, done=chunk.number in there) for chunk in chunks]


def _insert_all(work: Work, state: State, cutover: datetime, chunks: Sequence[Chunk]) -> None:
    """Puts in the chunks that are not done yet, some at a time; where one fails no other begins."""
    total, label = sum(c.rows for c in chunks), f"backfill of {state.name}"
    done = sum(c.rows for c in chunks if c.done)
    work.progress(label, done, total)

    def put(chunk: Chunk) -> int:
        work.check()
        insert_chunk(work, state, cutover, chunk)
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
    """Writes one chunk to a table of its own and records it as done."""
    view = next(view for view in state.views if view.name == chunk.view)
    columns = ", ".join(quoted(c) for c in selected(view))
    select = narrowed(
        view, chunk.since, chunk.until, table=chunk.source if chunk.source != view.landing else "", within=chunk.within
    )
    # Another name each time: what an earlier try still sends finds no table.
    table = f"{state.relation}{BACKFILL}_{chunk.number}_{secrets.token_hex(4)}"
    work.client.execute(f"CREATE TABLE {table} AS {state.relation}")
    if state.shards:
        work.client.execute(create_whole(table, state.shards))
    settings = {**_SETTINGS, "log_comment": work.comment}
    work.client.execute(f"INSERT INTO {whole(table, work.client)} ({columns})\n{select}", settings=settings)
    if max(_partitions(work.client, table).values(), default=0) > _MOST_PARTS:
        work.client.execute(f"OPTIMIZE TABLE {table} FINAL", settings={"log_comment": work.comment})
    work.ledger.save_chunks(state.relation, cutover, [dataclasses.replace(chunk, done=True)])


def _move(client: ClickHouse, table: str, state: str) -> None:
    """Moves whole partitions: each is in one table or the other, so this can be repeated."""
    for partition in _partitions(client, table):
        client.execute(f"ALTER TABLE {table} MOVE PARTITION ID '{partition}' TO TABLE {state}")


def _partitions(client: ClickHouse, table: str) -> dict[str, int]:
    """Ids of the partitions of ``table`` that hold rows, on any shard, with the number of their parts."""
    database, name = table.split(".")
    parts = client.endpoint.everywhere("system.parts")
    rows = client.rows(
        f"SELECT partition_id, count() AS parts FROM {parts} WHERE database = {{database:String}} "
        "AND table = {name:String} AND active AND rows > 0 GROUP BY partition_id ORDER BY partition_id",
        {"database": database, "name": name},
    )
    return {row["partition_id"]: int(row["parts"]) for row in rows}


def _begun(state: State, chunks: Sequence[Chunk]) -> str:
    rows, done = sum(c.rows for c in chunks), sum(c.rows for c in chunks if c.done)
    earlier = f", {done:,} of them done by an earlier deploy" if done else ""
    lake = sum(c.rows for c in chunks if c.source.endswith(LAKE))
    return f"backfill of {state.name}: {rows:,} rows" + (f", {lake:,} of them from the lake" if lake else "") + earlier
