"""DDL of state tables and the materialized views that fill them."""

from __future__ import annotations

from realtime.emit.landing import SETTINGS
from realtime.emit.names import quoted
from realtime.planner.ir import Refresh, State, View

_COMPACT = 1 << 30


def state_ddl(state: State) -> list[str]:
    """Statements that make ``state`` and its views, the table first; names are quoted where needed."""
    return [create_state(state), *(create_view(state, view) for view in state.views)]


def create_state(state: State) -> str:
    """The table; its columns and their types are those of the first view's select."""
    clauses = [f"CREATE TABLE IF NOT EXISTS {state.relation}", f"ENGINE = {state.engine}"]
    if state.partition_by:
        clauses.append(f"PARTITION BY {state.partition_by}")
    clauses.append(
        f"ORDER BY ({', '.join(quoted(c) for c in state.order_by)})" if state.order_by else "ORDER BY tuple()"
    )
    if state.ttl:
        clauses.append(f"TTL {state.ttl}")
    compact = f", min_bytes_for_wide_part = {_COMPACT}" if state.compact else ""
    clauses.append(f"SETTINGS index_granularity = {state.index_granularity}, {SETTINGS}{compact}")
    clauses.append(f"EMPTY AS\n{state.views[0].select}")
    return "\n".join(clauses)


def create_view(state: State, view: View, select: str | None = None) -> str:
    """The materialized view; ``select`` in place of its own where a cut-over narrows it."""
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view.name} TO {state.relation} AS\n{select or view.select}"


def refresh_ddl(refresh: Refresh) -> list[str]:
    """Statements that make the table of ``refresh`` and the view that replaces its rows, which has not run yet then."""
    clauses = [f"CREATE TABLE IF NOT EXISTS {refresh.relation}", "ENGINE = MergeTree"]
    if refresh.partition_by:
        clauses.append(f"PARTITION BY {refresh.partition_by}")
    clauses.append(f"ORDER BY ({', '.join(quoted(c) for c in refresh.order_by)})")
    clauses.append(f"SETTINGS index_granularity = {refresh.index_granularity}, allow_nullable_key = 1")
    clauses.append(f"EMPTY AS\n{refresh.select}")
    view = f"CREATE MATERIALIZED VIEW IF NOT EXISTS {refresh.view}\nREFRESH EVERY {refresh.every} TO {refresh.relation}"
    return ["\n".join(clauses), f"{view}\nEMPTY AS\n{refresh.select}"]
