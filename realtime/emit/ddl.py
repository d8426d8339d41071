"""DDL of state tables and the materialized views that fill them."""

from __future__ import annotations

from collections.abc import Iterable

from realtime.emit.landing import WHOLE_PARTS, add_index, index_ddl, table_settings
from realtime.emit.names import literal, quoted
from realtime.emit.shards import create_whole, engine_on
from realtime.planner.ir import Column, Published, Refresh, State, View

_COMPACT = 1 << 30


def state_ddl(state: State) -> list[str]:
    """Statements that make ``state`` and its views, the table first; names are quoted where needed."""
    added = [add_index(state.relation, index) for index in state.indexes]
    return [*tables_ddl(state), *added, *(create_view(state, view) for view in state.views)]


def tables_ddl(state: State) -> list[str]:
    """Statements that make the table of ``state``; on a cluster the one over all shards too."""
    return [create_state(state), *([create_whole(state.relation, state.shards)] if state.shards else [])]


def create_state(state: State) -> str:
    """The table; its columns are what its views select, unless it is shared: a key is Nullable where it is in one."""
    replicated = state.shards is not None
    engine = engine_on(state.engine, replicated=replicated)
    clauses = [f"CREATE TABLE IF NOT EXISTS {state.relation}", f"ENGINE = {engine}"]
    if state.partition_by:
        clauses.append(f"PARTITION BY {state.partition_by}")
    clauses.append(
        f"ORDER BY ({', '.join(quoted(c) for c in state.order_by)})" if state.order_by else "ORDER BY tuple()"
    )
    if state.ttl:
        clauses.append(f"TTL {state.ttl}")
    compact = f", min_bytes_for_wide_part = {_COMPACT}" if state.compact else ""
    whole = f", {WHOLE_PARTS}" if state.whole_parts else ""
    kept = f"{table_settings(replicated=replicated)}{compact}{whole}"
    clauses.append(f"SETTINGS index_granularity = {state.index_granularity}, {kept}")
    selects = [view.select for view in state.views]
    rows = selects[0] if len(selects) == 1 else "\nUNION ALL\n".join(f"({select})" for select in selects)
    clauses.append(f"EMPTY AS\n{state.structure or rows}")
    return "\n".join(clauses)


def create_view(state: State, view: View, select: str | None = None) -> str:
    """The materialized view; ``select`` in place of its own where a cut-over narrows it."""
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view.name} TO {state.relation} AS\n{select or view.select}"


def refresh_ddl(refresh: Refresh) -> list[str]:
    """Statements that make the table of ``refresh`` and the view that replaces its rows, which has not run yet then."""
    return [create_refreshed(refresh, refresh.relation), create_refresh(refresh)]


def create_refreshed(refresh: Refresh, relation: str) -> str:
    """An empty table ``relation`` of the columns that ``refresh`` selects."""
    return f"CREATE TABLE IF NOT EXISTS {relation}\n{_clauses(refresh)}\nEMPTY AS\n{refresh.select}"


def create_refresh(refresh: Refresh) -> str:
    """The refreshable view over the table of ``refresh``; it waits for its time."""
    view = f"CREATE MATERIALIZED VIEW IF NOT EXISTS {refresh.view}"
    return f"{view}\nREFRESH EVERY {refresh.every} TO {refresh.relation}\nEMPTY AS\n{refresh.select}"


def create_published(published: Published, columns: Iterable[Column], relation: str = "", comment: str = "") -> str:
    """An empty table that takes a copy of batch rows: that of ``published``, or one of another name."""
    parts = [f"{quoted(c.name)} {c.clickhouse}" for c in columns]
    listed = ",\n".join(f"  {part}" for part in [*parts, *map(index_ddl, published.indexes)])
    said = f"\nCOMMENT {literal(comment)}" if comment else ""
    return f"CREATE TABLE {relation or published.relation} (\n{listed}\n)\n{_clauses(published)}{said}"


def placeholder(columns: Iterable[Column], model: str) -> str:
    """The select that stands for the rows of ``model`` until it is published: an error."""
    words = literal(f"model {model} is not published yet: run duet batch")
    values = ", ".join(f"defaultValueOfTypeName({literal(c.clickhouse)}) AS {quoted(c.name)}" for c in columns)
    return f"SELECT {values} FROM system.one WHERE throwIf(1, {words})"


def _clauses(made: Refresh | Published) -> str:
    clauses = ["ENGINE = MergeTree"]
    if made.partition_by:
        clauses.append(f"PARTITION BY {made.partition_by}")
    clauses.append(f"ORDER BY ({', '.join(quoted(c) for c in made.order_by)})")
    clauses.append(f"SETTINGS index_granularity = {made.index_granularity}, allow_nullable_key = 1")
    return "\n".join(clauses)
