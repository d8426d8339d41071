"""The groups of a state that changed since a moment, and what their landing rows make of them anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.moment import micros
from realtime.deploy.narrow import narrowed, selected
from realtime.emit.names import quoted
from realtime.planner.ir import State
from realtime.planner.passes.split_aggregate import UPDATED_AT
from realtime.transpile.settings import SETTINGS

CHANGED = "__changed"
"""Ends the name of the table that names the changed groups of another, with the moment of their last change."""
_SETTINGS = {**SETTINGS, "max_bytes_before_external_group_by": 1 << 30, "max_partitions_per_insert_block": 0}
_SETTINGS["insert_deduplicate"] = 0  # equal rows of two views are two

Span = tuple[str, datetime, datetime]
"""Rows of a table, from a moment (included) until another (not)."""


class Groups(msgspec.Struct, frozen=True):
    """How many groups a state has, how many of them changed since the watermark, and how many of these still did when
    they were looked at."""

    total: int
    changed: int
    moving: int


def find_changed(
    client: ClickHouse, state: State, table: str, landed: Mapping[str, Iterable[Span]], since: datetime, now: datetime
) -> Groups:
    """Names the groups of ``table``, a copy of ``state``, that changed from ``since`` on in the table
    ``<table>__changed``, and those that the rows in ``landed`` (by landing table) are of, should they have missed the
    state. Those that changed from ``now`` on may lack rows."""
    key = f"{key_of(state.order_by)} AS key"
    grouped = f"GROUP BY {', '.join(map(quoted, state.order_by))}" if state.order_by else ""
    held = f"SELECT {key}, max({UPDATED_AT}) AS last FROM {table} {grouped} HAVING last >= {moment(since)}"
    came = [f"SELECT {key}, {UPDATED_AT} AS last FROM (\n{rows}\n)" for _, rows in _narrowed(state, landed)]
    client.execute(
        f"CREATE TABLE {table}{CHANGED} ENGINE = MergeTree ORDER BY tuple() AS "
        f"SELECT key, max(last) AS last FROM (\n{' UNION ALL '.join([held, *came])}\n) GROUP BY key",
        settings=_SETTINGS,
    )
    total = client.rows(f"SELECT count() AS n FROM (SELECT 1 FROM {table} {grouped})", settings=_SETTINGS)
    (found,) = client.rows(f"SELECT count() AS n, countIf(last >= {moment(now)}) AS late FROM {table}{CHANGED}")
    return Groups(int(total[0]["n"]) if state.order_by else 1, int(found["n"]), int(found["late"]))


def copy_changed(client: ClickHouse, table: str, keys: Sequence[str], now: datetime, into: str) -> None:
    """Puts the changed groups of ``table`` that were complete at ``now`` into ``into`` as they are."""
    client.execute(f"INSERT INTO {into} SELECT * FROM {table} WHERE {_among(table, keys, now)}", settings=_SETTINGS)


def delete_changed(client: ClickHouse, table: str, keys: Sequence[str]) -> None:
    """Deletes the changed groups of ``table`` from it."""
    client.execute(f"DELETE FROM {table} WHERE {_among(table, keys)}")


def compute_changed(
    client: ClickHouse,
    state: State,
    table: str,
    spans: Mapping[str, Iterable[Span]],
    into: str,
    now: datetime | None = None,
) -> None:
    """Puts the changed groups of ``table``, a copy of ``state``, into ``into`` as the rows in ``spans`` (by landing
    table) make them; with ``now`` only those that were complete then."""
    for columns, rows in _narrowed(state, spans):
        client.execute(
            f"INSERT INTO {into} ({columns}) SELECT {columns} FROM (\n{rows}\n) "
            f"WHERE {_among(table, state.order_by, now)}",
            settings=_SETTINGS,
        )


def _narrowed(state: State, spans: Mapping[str, Iterable[Span]]) -> Iterator[tuple[str, str]]:
    """What the views of ``state`` select of the rows in ``spans`` (by landing table), each with its columns."""
    for view in state.views:
        columns = ", ".join(map(quoted, selected(view)))
        for table, since, until in spans[view.landing]:
            yield columns, narrowed(view, since, until, table=table)


def key_of(columns: Sequence[str]) -> str:
    """The values of ``columns`` as one that is never NULL, and the same for a Nullable column and one that is not."""
    parts = [part for c in map(quoted, columns) for part in (f"isNull({c})", f"ifNull(toString({c}), '')")]
    return f"tuple({', '.join(parts or ['0'])})"


def moment(of: datetime) -> str:
    """``of`` as ClickHouse compares it with ``_ingested_at``."""
    return f"fromUnixTimestamp64Micro({micros(of)}, 'UTC')"


def _among(table: str, keys: Sequence[str], now: datetime | None = None) -> str:
    complete = f" WHERE last < {moment(now)}" if now is not None else ""
    return f"{key_of(keys)} IN (SELECT key FROM {table}{CHANGED}{complete})"
