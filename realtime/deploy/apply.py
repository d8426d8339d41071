"""Carries out what `realtime.deploy.diff` finds, so that no row is lost and no reader sees a version half made.

Every step can be repeated: a deploy that was killed anywhere is continued by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import server_now
from realtime.deploy.backfill import backfill
from realtime.deploy.cutover import INSERT_TIMEOUT, cut_over
from realtime.deploy.diff import Kind, changes, is_filled, is_whole, refreshes_of, states_of
from realtime.deploy.ledger import Ledger, Work
from realtime.deploy.live import Live, read_live
from realtime.deploy.lock import exclusive
from realtime.deploy.promote import build_staging, settle, staging_database, swap_to_staging
from realtime.deploy.refreshes import make_refreshed
from realtime.emit.landing import BATCH_ID, add_column, add_hidden, landing_ddl
from realtime.emit.names import quoted
from realtime.errors import CommandError, ConfigError, SourceError
from realtime.planner.ir import Plan, SourceSpec, State
from realtime.settings import Settings

Report = Callable[[str], None]

GRACE = 1.5
"""Seconds between swapping views and dropping what the old ones read: by then a query that began before has found
its tables, and servers, which look for the active plan each second, have the new one."""

_DROPPED = frozenset({Kind.DROP_STATE, Kind.DROP_MATERIALIZED_VIEW, Kind.DROP_VIEW})
_UNBUILT = _DROPPED | {Kind.REGISTER_LAMBDA, Kind.DROP_STAGING}


def deploy(settings: Settings, plan: Plan, client: ClickHouse, report: Report) -> None:
    """Makes the server run ``plan``, which is compiled in ``settings.realtime_dir``; ``report`` takes lines to show.

    Raises BusyError while another deploy to the same database runs or an insert does not end, SourceError and
    ConfigError as `realtime.deploy.diff.changes` does, CommandError where a statement or a test fails: the version
    before goes on serving then.
    """
    with exclusive(client, plan.database) as lock:
        comment = f"duet deploy to {plan.database}"
        work = Work(client, Ledger(client, plan.database), report, lock.check, comment)
        _end_leftovers(work)
        live = read_live(client, plan.database)
        found = changes(plan, live)
        for change in found:
            report(str(change))
        if found:
            _carry_out(settings, plan, work, live, {change.kind for change in found})
        else:
            report("nothing to do: the server runs this project as it is")


def _carry_out(settings: Settings, plan: Plan, work: Work, live: Live, kinds: Set[Kind]) -> None:
    _create_databases(work, plan)
    wanted = [state for state in states_of(plan).values() if not is_whole(state, live)]
    # A view does not outlive its landing table: what it kept is of rows that are gone.
    lost = [s.relation for s in wanted if any(v.landing not in live.landing for v in s.views)]
    work.ledger.mark(lost, "dropped")
    for source in plan.sources:
        _make_source(work.client, source, live)
    _fill_states(work, wanted, live)
    make_refreshed(work, [refresh for refresh in refreshes_of(plan).values() if not is_filled(refresh, live)])
    rebuilt = not kinds <= _UNBUILT
    if rebuilt:
        _test_views(settings, plan, work, live)
    if rebuilt and _is_read(plan, live):
        swap_to_staging(work.client, plan)
    work.ledger.register(spec for spec in plan.lambdas if (spec.name, spec.version) not in live.lambdas)
    if live.plan != plan:
        work.ledger.activate(plan)
    if rebuilt:
        settle(work.client, plan)
    work.check()
    _drop_unused(work, plan, GRACE if _is_read(plan, live) else 0)


def _create_databases(work: Work, plan: Plan) -> None:
    for name in (plan.database, f"{plan.database}_raw", f"{plan.database}_state"):
        work.client.execute(f"CREATE DATABASE IF NOT EXISTS {quoted(name)}")
    work.ledger.create()


def _make_source(client: ClickHouse, source: SourceSpec, live: Live) -> None:
    table = live.landing.get(source.landing)
    try:
        for statement in landing_ddl(source):
            client.execute(statement)
        if table is not None and BATCH_ID not in table.columns:
            for statement in add_hidden(source):
                client.execute(statement)
        for column in source.columns:
            if table is not None and column.name not in table.columns:
                client.execute(add_column(source, column))
    except CommandError as error:
        raise SourceError(
            f"source {source.name}: its landing table can't be made: {error.message}",
            remedy="check its types, and `partition_by` and `ttl`, which are ClickHouse expressions over its columns",
        ) from None


def _fill_states(work: Work, states: Sequence[State], live: Live) -> None:
    cuts = cut_over(work, states, live)
    for state in states:
        backfill(work, state, cuts[state.relation])


def _test_views(settings: Settings, plan: Plan, work: Work, live: Live) -> None:
    """Tests the new version, unless its tests had passed and only the swap was interrupted."""
    staging = staging_database(plan)
    if not any(staging in view.select for view in live.read_views.values()):
        _check_compiled(settings, plan)
        work.report("dbt builds and tests the read views")
        build_staging(settings, work.client, plan)
    work.check()


def _is_read(plan: Plan, live: Live) -> bool:
    """Whether there was a version before, which someone may be reading."""
    return live.plan is not None or any(step.relation in live.read_views for step in plan.steps)


def _check_compiled(settings: Settings, plan: Plan) -> None:
    """ConfigError where the generated project, which dbt is about to run, is of another plan."""
    file = settings.realtime_dir / "plan.json"
    try:
        same = msgspec.json.decode(file.read_bytes(), type=Plan) == plan
    except (OSError, msgspec.DecodeError):
        same = False
    if not same:
        raise ConfigError(
            f"{settings.realtime_dir} does not hold the plan that is deployed", remedy="run: duet compile"
        )


def _drop_unused(work: Work, plan: Plan, grace: float) -> None:
    """Drops what deploys made and ``plan`` does not use, after ``grace`` seconds."""
    live = read_live(work.client, plan.database)
    found = [change for change in changes(plan, live) if change.kind in _DROPPED]
    if found or live.staging:
        time.sleep(grace)
    tables = [change.subject for change in found if change.kind is Kind.DROP_STATE]
    work.ledger.mark(tables, "dropped")
    for change in found:
        if change.kind is not Kind.DROP_STATE:
            work.client.execute(f"DROP TABLE IF EXISTS {_quoted(change.subject)}")
    if tables:
        # An insert that still feeds a dropped view fails if the view's table goes too.
        wait_for_inserts(work.client, sorted(live.landing), server_now(work.client), INSERT_TIMEOUT)
    for table in tables:
        work.client.execute(f"DROP TABLE IF EXISTS {_quoted(table)}")
    for name in live.staging:
        work.client.execute(f"DROP DATABASE IF EXISTS {quoted(name)} SYNC")


def _quoted(relation: str) -> str:
    return ".".join(quoted(part) for part in relation.split("."))


def _end_leftovers(work: Work) -> None:
    """Ends backfills of a deploy that was killed: the server goes on with a query whose client is gone."""
    sql = "KILL QUERY WHERE Settings['log_comment'] = {comment:String} SYNC"
    work.client.execute(sql, {"comment": work.comment})
