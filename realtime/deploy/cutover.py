"""New states beside old ones, and the moment from which their views take every row.

Each landing row belongs to exactly one side of the cut-over, whatever the timing: the views take rows with
``_ingested_at >= cutover``, the backfill those before. The moment lies a little ahead, so that the views are there
when it comes, and later than any row that is there, should the clock have been set back. When the views are there, the
landing table gives no earlier time any more: each insert that begins from now on feeds the views with all of its rows.
Those that had begun are waited for: one that began before the views were made does not feed them, so it has to end
before the cut-over, else another one is tried; and all have to end before the backfill reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import clocks, from_micros, micros
from realtime.deploy.backfill import drop_chunk_tables
from realtime.deploy.ledger import Work
from realtime.deploy.live import Live
from realtime.deploy.narrow import narrowed
from realtime.deploy.replace import drop_table
from realtime.emit.ddl import create_view, tables_ddl
from realtime.emit.landing import INGESTED_AT, keep_after
from realtime.errors import BusyError
from realtime.planner.ir import ALL, State

INSERT_TIMEOUT = 600.0
"""Seconds that a deploy waits for an insert that is already running."""

_FAR = timedelta(minutes=1)
_LONG = 10.0
"""Seconds that are waited without a word, and after which the clock, which may be set meanwhile, is looked at again."""
_MARGINS = (0.3, 1.5, 7.5, 40.0)
"""Seconds between making views and their cut-over; the next one is tried where making them took longer."""


def cut_over(work: Work, states: Sequence[State], live: Live) -> Mapping[str, datetime]:
    """Makes the tables and views of ``states`` and returns the cut-over of each, once no insert from before it is
    running. States that an earlier deploy had brought so far are kept as they are.

    BusyError where an insert into a landing table does not end.
    """
    known, unsure = work.ledger.cutovers(), work.ledger.interrupted()
    cuts = {
        s.relation: known[s.relation]
        for s in states
        if s.relation in known and s.relation not in unsure and _intact(s, live)
    }
    fresh = [s for s in states if s.relation not in cuts]
    if fresh:
        moment = _cut(work, fresh)
        work.ledger.mark([s.relation for s in fresh], "cut", moment)
        cuts |= {s.relation: moment for s in fresh}
    if cuts:
        _wait_until(work, max(cuts.values()))
    return cuts


def _intact(state: State, live: Live) -> bool:
    return state.relation in live.states and all(view.name in live.views for view in state.views)


def _cut(work: Work, states: Sequence[State]) -> datetime:
    """Makes ``states`` with views from one moment on, which had not come yet when the last insert that does not feed
    them was over; no row gets an earlier time any more."""
    landings = _landings(states)
    for margin in _MARGINS:
        wait_for_inserts(work.client, landings, INSERT_TIMEOUT)
        # What was recorded of tables by these names does not hold for those that are made now.
        work.ledger.mark([s.relation for s in states], "dropped")
        moment = _make(work.client, states, margin + 0.02 * len(states))
        for landing in landings:
            # On a cluster the server that is sent rows gives them their time.
            for table in (landing + ALL, landing) if work.client.cluster else (landing,):
                work.client.execute(keep_after(table, micros(moment)))
        wait_for_inserts(work.client, landings, INSERT_TIMEOUT)
        # A row that was ahead of the clock before the views were there belongs to neither side: one that feeds them has
        # the moment itself until it has come.
        if clocks(work.client)[1] < moment and latest(work.client, landings) <= moment:
            return moment
        work.report(f"making the views took longer than {margin:.1f} s; again with more time")
    raise BusyError(
        f"views over {', '.join(landings)} can't be made before their cut-over: each time an insert ran on for longer",
        remedy="deploy again while no long insert into these tables is running",
    )


def _make(client: ClickHouse, states: Sequence[State], margin: float) -> datetime:
    """Makes ``states`` anew, with views from a moment ``margin`` seconds ahead on."""
    for state in states:
        _drop(client, state)
        for statement in tables_ddl(state):
            client.execute(statement)
    moment = latest(client, _landings(states)) + timedelta(seconds=margin)
    for state in states:
        for view in state.views:
            client.execute(create_view(state, view, narrowed(view, since=moment)))
    return moment


def _drop(client: ClickHouse, state: State) -> None:
    """Drops what is there of ``state``: its views first, so that no insert meets a view without its table."""
    for view in state.views:
        client.execute(f"DROP TABLE IF EXISTS {view.name} SYNC")
    drop_chunk_tables(client, state.relation)
    drop_table(client, state.relation)


def _landings(states: Sequence[State]) -> list[str]:
    return sorted({view.landing for state in states for view in state.views})


def latest(client: ClickHouse, landings: Iterable[str]) -> datetime:
    """The time of the server whose clock is ahead of the others', or that of the rows that came last where a clock was
    set back since."""
    found = clocks(client)[1]
    for rows in map(client.endpoint.of_shards, landings):
        sql = f"SELECT toUnixTimestamp64Micro(max({INGESTED_AT})) FROM {rows} WHERE {INGESTED_AT} > now64(6, 'UTC')"
        found = max(found, from_micros(int(client.value(sql))))
    return found


def _wait_until(work: Work, moment: datetime) -> None:
    """Waits until every clock is past ``moment``; not where one was set back, and rows have that time until it has
    caught up."""
    while timedelta(0) <= moment - (now := clocks(work.client)[0]) < _FAR:
        left = (moment - now).total_seconds()
        if left > _LONG:
            work.report(f"waiting {left:.0f} s for the cut-over at {moment:%H:%M:%S}Z by ClickHouse's clock")
        time.sleep(min(left + 0.001, _LONG))
