"""Landing tables, made or brought to what their sources declare, while rows come in.

A view that was compiled for a column's old type breaks every insert once the type is another one. So before a column
is altered, the views that are there are made to read it in its old type: what they keep stays what it was, until
the new version takes over and they go. Columns are dropped when nothing reads them any more, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import micros
from realtime.deploy.change import Change, Kind
from realtime.deploy.cutover import INSERT_TIMEOUT, latest
from realtime.deploy.diff import objects_of, states_of
from realtime.deploy.ledger import Work
from realtime.deploy.live import Live, Table
from realtime.deploy.narrow import narrowed
from realtime.deploy.rebuild import rebuild
from realtime.emit.landing import (
    BATCH_ID,
    QUARANTINE_NEWEST,
    add_column,
    add_hidden,
    close_landing,
    column_ddl,
    forget_tokens,
    keep_after,
    landing_ddl,
    open_landing,
    remake_quarantine,
)
from realtime.emit.names import quoted
from realtime.emit.shards import remake_whole
from realtime.errors import CommandError, SourceError
from realtime.ingest.recovery import send_on_last
from realtime.planner.ir import ALL, Plan, SourceSpec, State, View

_ALTERED = frozenset({Kind.WIDEN_COLUMN, Kind.REBUILD_SOURCE})
_COLUMNS = frozenset({Kind.WIDEN_COLUMN, Kind.ADD_COLUMN})


def make_sources(work: Work, plan: Plan, live: Live, found: Sequence[Change]) -> None:
    """Brings the tables of every source of ``plan`` to what it declares, but for columns that have to go."""
    for source in plan.sources:
        own = [c for c in found if c.subject == source.landing or c.subject.startswith(f"{source.landing}.")]
        try:
            _make(work, source, live, own, plan)
        except CommandError as error:
            raise SourceError(
                f"source {source.name}: its landing table can't be made: {error.message}",
                remedy="check its types, and `partition_by` and `ttl`: ClickHouse expressions over its columns",
            ) from None


def _make(work: Work, source: SourceSpec, live: Live, found: Sequence[Change], plan: Plan) -> None:
    table = live.landing.get(source.landing)
    held = source.name in live.held
    for statement in landing_ddl(source, held=held):
        work.client.execute(statement)
    quarantine = live.landing.get(source.quarantine)
    if quarantine is not None and QUARANTINE_NEWEST not in quarantine.columns:
        for statement in remake_quarantine(source):
            work.client.execute(statement)
    kinds = {change.kind for change in found}
    if table is not None and BATCH_ID not in table.columns:
        for statement in add_hidden(source):
            work.client.execute(statement)
    if table is not None and kinds & _ALTERED:
        _read_old_types(work, source, table, live, plan)
    if table is not None and Kind.REBUILD_SOURCE in kinds:
        rebuild(work, source, table, held=held)
        return
    for column in source.columns:
        if table is not None and column.name not in table.columns:
            work.client.execute(add_column(source, column))
    for change in found:
        if change.kind is Kind.WIDEN_COLUMN:
            name = change.subject.removeprefix(f"{source.landing}.")
            column = next(c for c in source.columns if c.name == name)
            work.client.execute(f"ALTER TABLE {source.landing} MODIFY COLUMN {column_ddl(source, column)}")
        elif change.kind is Kind.CHANGE_TTL and not held:
            ttl = f"MODIFY TTL {source.ttl}" if source.ttl else "REMOVE TTL"
            # Old parts are rewritten in the background; the deploy does not wait for it.
            work.client.execute(f"ALTER TABLE {source.landing} {ttl}", settings={"mutations_sync": 0})
    if source.shards is not msgspec.UNSET and {change.kind for change in found} & _COLUMNS:
        work.client.execute(remake_whole(source.landing, source.shards))


def drop_columns(work: Work, found: Iterable[Change]) -> None:
    """Drops what no source declares any more; nothing may read it now."""
    for change in found:
        if change.kind is Kind.DROP_COLUMN:
            database, table, column = change.subject.split(".", 2)
            for name in (table + ALL, table) if work.client.cluster else (table,):
                work.client.execute(f"ALTER TABLE {database}.{name} DROP COLUMN IF EXISTS {quoted(column)}")


def _read_old_types(work: Work, source: SourceSpec, table: Table, live: Live, plan: Plan) -> None:
    """Makes the views over the landing table independent of its types: those that no version we know is of are of a
    deploy that was killed, and go."""
    known = {view.name: (state.relation, view) for state, view in _views(live, source)}
    cuts = work.ledger.cutovers()
    wanted = {name for step in plan.steps for name in objects_of(step)}
    used = {name for of in _plans(live) for step in of.steps for name in objects_of(step)}
    stale = live.views - used - wanted
    for name in sorted(stale):
        work.client.execute(f"DROP TABLE IF EXISTS {name} SYNC")
    changed = {
        name: narrowed(view, since=cuts.get(state), types=table.columns)
        for name, (state, view) in known.items()
        if name in live.views - wanted
    }
    if changed:
        _change_views(work, source, changed)


def _change_views(work: Work, source: SourceSpec, changed: Mapping[str, str]) -> None:
    """Gives views other queries. A view knows tokens by its query (tried on 26.7), so that nothing may be left that
    would be sent on to it: inserts wait for a moment."""
    send_on_last(work.client.endpoint, source)
    try:
        work.client.execute(close_landing(source.landing))
        wait_for_inserts(work.client, [source.landing], INSERT_TIMEOUT)
        known = micros(latest(work.client, [source.landing])) + 1
        work.check()
        for table in (source.landing + ALL, source.landing) if work.client.cluster else (source.landing,):
            work.client.execute(keep_after(table, known))
        work.client.execute(forget_tokens(source.landing, known))
        for name in sorted(changed):
            work.client.execute(f"ALTER TABLE {name} MODIFY QUERY {changed[name]}")
    finally:
        work.client.execute(open_landing(source.landing))


def _views(live: Live, source: SourceSpec) -> Iterator[tuple[State, View]]:
    for plan in _plans(live):
        for state in states_of(plan).values():
            yield from ((state, view) for view in state.views if view.landing == source.landing)


def _plans(live: Live) -> list[Plan]:
    """The active plan, and those that hold versions that are kept."""
    return [plan for plan in (live.plan, *(kept.plan for kept in live.kept.values())) if plan is not None]
