"""Chunks of a backfill: by time where parts follow it, by key where they were merged, and each row in exactly one."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.backfill import backfill
from realtime.deploy.chunks import ranges
from realtime.deploy.cutover import cut_over
from realtime.deploy.ledger import Work
from realtime.deploy.live import read_live
from realtime.emit.landing import landing_ddl
from realtime.emit.names import quoted
from realtime.planner.ir import State
from tests.deploy.conftest import PER_ROOM, Site, project, source
from tests.deploy.test_backfill import counted, only_state, stop_after, work

__all__ = ["work"]

ROWS = 40_000
CHUNK = 2 * ROWS


def filled(site: Site, work: Work, merged: bool) -> tuple[State, datetime]:
    """A state that has cut over, and a landing table by id with rows of six moments, each with ids from all over."""
    plan = site.compile(project({"per_room": PER_ROOM}, of=source(order_by=["id"])))
    for statement in landing_ddl(plan.sources[0]):
        site.client.execute(statement)
    landing = plan.sources[0].landing
    site.client.execute(f"SYSTEM STOP MERGES {landing}")
    for moment in range(6):
        bulk(site, moment)
        time.sleep(0.11)
    if merged:
        site.client.execute(f"SYSTEM START MERGES {landing}")
        site.client.execute(f"OPTIMIZE TABLE {landing} FINAL")
    state = only_state(plan)
    return state, cut_over(work, [state], read_live(site.client, site.database))[state.relation]


def bulk(site: Site, moment: int) -> None:
    site.client.execute(
        f"INSERT INTO {site.database}_raw.chat__messages (id, room, sender, size) "
        f"SELECT 6 * number + {moment}, concat('room ', toString(number % 5)), 'x', number % 13 FROM numbers({ROWS})"
    )


def check(site: Site, state: State) -> None:
    landing = f"{site.database}_raw.chat__messages"
    wanted = f"SELECT room, count() AS n, sum(size) FROM {landing} GROUP BY room ORDER BY room"
    assert counted(site, state) == site.rows(wanted)


def test_chunks_follow_time_where_parts_do(site: Site, work: Work) -> None:
    state, cutover = filled(site, work, merged=False)
    backfill(work, state, cutover, chunk_rows=CHUNK)
    chunks = work.ledger.chunks(state.relation, cutover)
    assert [(c.rows, c.within) for c in chunks] == [(CHUNK, "")] * 3
    check(site, state)


def test_chunks_are_ranges_of_the_key_where_parts_were_merged(site: Site, work: Work) -> None:
    """Stopped between two of them, and continued after rows came in and all was merged again."""
    state, cutover = filled(site, work, merged=True)
    stopped = dataclasses.replace(work, check=stop_after(2), threads=1)
    with pytest.raises(KeyboardInterrupt):
        backfill(stopped, state, cutover, chunk_rows=CHUNK)
    chunks = work.ledger.chunks(state.relation, cutover)
    assert [(c.rows, c.done) for c in chunks] == [(CHUNK, True), (CHUNK, True), (CHUNK, False)]
    assert all('"id"' in c.within for c in chunks)
    bulk(site, 6)
    site.client.execute(f"OPTIMIZE TABLE {site.database}_raw.chat__messages FINAL")
    backfill(work, state, cutover)
    check(site, state)
    sql = "SELECT ProfileEvents['SelectedRows'] FROM system.query_log WHERE type = 'QueryFinish' AND query LIKE "
    site.client.execute("SYSTEM FLUSH LOGS")
    read = site.rows(f"{sql}'INSERT INTO {state.relation}%'")
    assert len(read) == 3
    assert sum(int(rows) for (rows,) in read) < 1.5 * 7 * ROWS


TEXTS = st.text(st.sampled_from("ab\x00'\\é"), max_size=3)
MOMENTS = st.datetimes(datetime(1925, 1, 1), datetime(2262, 1, 1))
KINDS = {
    "Int8": st.integers(-3, 3),
    "Int128": st.sampled_from([-(2**127), -1, 0, 7, 2**127 - 1]),
    "UInt64": st.sampled_from([0, 1, 2**64 - 1]),
    "String": TEXTS,
    "UUID": st.uuids().map(str),
    "Date32": st.dates(datetime(1925, 1, 1).date(), datetime(2262, 1, 1).date()),
    "DateTime64(6, 'UTC')": MOMENTS,
    "Decimal(20, 3)": st.integers(-(10**9), 10**9).map(lambda n: Decimal(n) / 1000),
    "Float64": st.sampled_from([0.0, -1.5, float("nan"), float("inf")]),
}


@given(st.data(), st.integers(1, 9))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_row_is_in_one_range(database: str, clickhouse: ClickHouse, data: st.DataObject, number: int) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=3))
    nullable = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))
    one = [st.none() | KINDS[kind] if null else KINDS[kind] for kind, null in zip(kinds, nullable, strict=False)]
    inserts = data.draw(st.lists(st.lists(st.tuples(*one), min_size=1, max_size=20), min_size=1, max_size=3))
    table, names = f"{database}.keyed", [f"a ` {i}" for i in range(len(kinds))]
    columns = [quoted(name) for name in names]
    types = [f"Nullable({k})" if null else k for k, null in zip(kinds, nullable, strict=False)]
    clickhouse.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
    clickhouse.execute(
        f"CREATE OR REPLACE TABLE {table} ({', '.join(f'{n} {t}' for n, t in zip(columns, types, strict=True))}) "
        f"ENGINE = MergeTree ORDER BY ({', '.join(columns)}) "
        "SETTINGS allow_nullable_key = 1, index_granularity = 2, index_granularity_bytes = 0"
    )
    for rows in inserts:
        clickhouse.insert(table, names, [[_value(v, k) for v, k in zip(r, kinds, strict=True)] for r in rows])
    found = ranges(clickhouse, table, number)
    assert len(found) <= number
    counts = [f"(SELECT count() FROM {table} WHERE {condition}) AS c{i}" for i, condition in enumerate(found)]
    (row,) = clickhouse.rows(f"SELECT {', '.join(counts) or f'count() AS c0 FROM {table}'}")
    assert sum(row.values()) == sum(map(len, inserts))


def _value(value: object, kind: str) -> object:
    return UUID(value) if kind == "UUID" and isinstance(value, str) else value
