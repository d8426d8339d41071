"""Carries out what `realtime.deploy.diff` finds, so that no row is lost and no reader sees a version half made.

Every step can be repeated: a deploy that was killed anywhere is continued by the next one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.inserts import wait_for_inserts
from realtime.compile import load_plan
from realtime.deploy.backfill import backfill
from realtime.deploy.change import DROPPED, UNBUILT, Change, Kind
from realtime.deploy.cutover import INSERT_TIMEOUT, cut_over
from realtime.deploy.diff import changed_models, changes, is_filled, is_whole, refreshes_of, states_of
from realtime.deploy.indexes import sync_indexes
from realtime.deploy.lake import drop_lakes, load_lakes
from realtime.deploy.ledger import Ledger, Progress, Work
from realtime.deploy.live import Live, read_live
from realtime.deploy.lock import exclusive
from realtime.deploy.options import Options
from realtime.deploy.promote import build_staging, settle, staging_database, swap_to_staging
from realtime.deploy.published import PATIENCE, make_placeholder, make_published, publishing
from realtime.deploy.rebuild import undo_rebuilds
from realtime.deploy.refreshes import make_refreshed
from realtime.deploy.replace import drop_table
from realtime.deploy.source_changes import orphans
from realtime.deploy.sources import drop_columns, make_sources
from realtime.deploy.topics import check_passwords, connect, disconnect
from realtime.emit.names import quoted
from realtime.emit.project import generate, write
from realtime.emit.shards import create_database, drop_database, on_cluster
from realtime.errors import ConfigError
from realtime.planner.ir import Plan, State
from realtime.settings import Settings

Report = Callable[[str], None]
Build = Callable[[Settings, ClickHouse, Plan], None]

GRACE = 1.5
"""Seconds between swapping views and dropping what the old ones read: by then a query that began before has found
its tables, and servers, which look for the active plan each second, have the new one."""


def deploy(
    settings: Settings,
    plan: Plan,
    client: ClickHouse,
    report: Report,
    options: Options | None = None,
    build: Build = build_staging,
    progress: Progress = lambda *_: None,
) -> bool:
    """Makes the server run ``plan``; ``report`` takes lines to show,
    ``build`` makes and tests the new read views. False where there was nothing to do.

    Raises BusyError while another deploy to the same database runs or an insert does not end, SourceError and
    ConfigError as `realtime.deploy.diff.changes` does, ConfigError where rows would be lost and ``options`` does not
    allow it, CommandError where a statement or a test fails: the version before goes on serving then.
    """
    options = options or Options.load(settings)
    with working(client, plan.database, report) as work:
        work = dataclasses.replace(work, progress=progress, threads=options.threads)
        live = read_live(client, plan.database, plan)
        found = changes(plan, live, options)
        for change in found:
            report(str(change))
        _check_allowed(found, options)
        if found:
            ready = Deploy(settings, plan, work, live, found, options)
            carry_out(ready, lambda: _test_views(settings, ready, build))
        else:
            report("nothing to do: the server runs this project as it is")
            if live.plan != plan:  # the same in another order, which has another id
                work.ledger.activate(plan)
        _drop_orphans(work, orphans(plan, read_live(client, plan.database)), options)
        return bool(found)


@contextmanager
def working(client: ClickHouse, database: str, report: Report) -> Iterator[Work]:
    """Holds the lock on ``database``, with what a killed deploy left running ended."""
    with exclusive(client, database) as lock:
        comment = f"duet deploy to {database}"
        work = Work(client, Ledger(client, database), report, lock.check, comment)
        _end_leftovers(work)
        yield work


@dataclasses.dataclass(frozen=True)
class Deploy:
    """One deploy: what is wanted, what is there, and what has to be done; ``note`` is empty unless it is none."""

    settings: Settings
    plan: Plan
    work: Work
    live: Live
    found: Sequence[Change]
    options: Options
    note: str = ""


def carry_out(deploy: Deploy, build: Callable[[], None]) -> None:
    """Makes everything so; ``build`` leaves read views in the staging schema, or raises where they are not right."""
    plan, work, live = deploy.plan, deploy.work, deploy.live
    check_passwords(plan, live)
    _create_databases(work, plan)
    wanted = [state for state in states_of(plan).values() if not is_whole(state, live)]
    # A view does not outlive its landing table: what it kept is of rows that are gone.
    lost = [s.relation for s in wanted if any(v.landing not in live.landing for v in s.views)]
    work.ledger.mark(lost, "dropped")
    disconnect(work.client, plan, live)
    make_sources(work, plan, live, deploy.found)
    _fill_states(deploy, wanted)
    now = read_live(work.client, plan.database)
    sync_indexes(work, plan, {**now.landing, **now.states})
    _fill_refreshed(work, plan, live, make_published(deploy.settings, work, plan, live))
    rebuilt = not {change.kind for change in deploy.found} <= UNBUILT
    if rebuilt:
        build()
        work.check()
    if rebuilt and _is_read(plan, live):
        swap_to_staging(work.client, plan)
    connect(work.client, plan, live)
    _activate(deploy)
    if rebuilt:
        settle(work.client, plan)
    work.check()
    _drop_unused(deploy, GRACE if _is_read(plan, live) else 0)


def _activate(deploy: Deploy) -> None:
    """Makes the plan the active one, in one insert, once everything that it needs is recorded."""
    plan, ledger, live = deploy.plan, deploy.work.ledger, deploy.live
    ledger.register(spec for spec in plan.lambdas if (spec.name, spec.version) not in live.lambdas)
    if live.plan is not None and live.plan != plan:
        ledger.keep(changed_models(live.plan, plan), live.deployment, deploy.options.keep_days)
    if live.plan != plan:
        ledger.activate(plan, deploy.note)


def _create_databases(work: Work, plan: Plan) -> None:
    for name in (plan.database, f"{plan.database}_raw", f"{plan.database}_state"):
        work.client.execute(create_database(name, work.client.cluster))
    work.ledger.create()


def _check_allowed(found: Iterable[Change], options: Options) -> None:
    """ConfigError naming what would be lost, unless that is allowed."""
    lost = [f"{change.kind} {change.subject}" for change in found if change.destructive]
    if lost and not options.destructive:
        raise ConfigError(
            f"this deploy loses what can't be had back: {', '.join(lost)}; nothing was changed",
            remedy="see duet plan; if that is meant: duet deploy --allow-destructive",
        )


def _drop_orphans(work: Work, found: Sequence[Change], options: Options) -> None:
    """Drops tables of sources that are gone, only where the caller allows it."""
    for change in found:
        if options.destructive:
            work.report(str(change))
            drop_table(work.client, change.subject)
        else:
            work.report(f"{change.subject} stays, though {change.reason}: --allow-destructive drops it")


def _fill_states(deploy: Deploy, states: Sequence[State]) -> None:
    work, live = deploy.work, deploy.live
    cuts = dict(cut_over(work, states, live))
    if deploy.options.backfill is False:
        begun = work.ledger.entering()  # it can only be finished
        for relation, moment in cuts.items():
            if relation not in begun:
                work.ledger.mark([relation], "late", moment)
                since = f"{moment:%Y-%m-%d %H:%M:%S}Z"
                work.report(f"{relation} holds rows from {since} on only: no backfill was asked for")
        states = [state for state in states if state.relation in begun]
    elif deploy.options.backfill:
        late = [state for state in states_of(deploy.plan).values() if state.relation in live.late]
        states = [*states, *(state for state in late if state.relation not in cuts)]
        cuts |= {relation: moment for relation, moment in live.late.items() if relation not in cuts}
    filled = {view.landing for state in states for view in state.views}
    sources = [source for source in deploy.plan.sources if source.landing in filled]
    lakes = load_lakes(work, deploy.settings, sources)
    for state in states:
        backfill(work, state, cuts[state.relation], lakes=lakes)
    drop_lakes(work, sources)


def _fill_refreshed(work: Work, plan: Plan, live: Live, unpublished: Mapping[str, str]) -> None:
    """Makes the refreshed tables that are missing; one that reads what is ``unpublished`` waits for it."""
    missing = {r: refresh for r, refresh in refreshes_of(plan).items() if not is_filled(refresh, live)}
    make_refreshed(work, [refresh for r, refresh in missing.items() if r not in unpublished])
    for step in plan.steps:
        if step.refresh is not None and step.refresh.relation in unpublished.keys() & missing.keys():
            make_placeholder(work.client, step.refresh.relation, step, unpublished[step.refresh.relation])


def _test_views(settings: Settings, deploy: Deploy, build: Build) -> None:
    """Tests the new version, unless its tests had passed and only the swap was interrupted."""
    staging = staging_database(deploy.plan)
    if not any(staging in view.select for view in deploy.live.read_views.values()):
        deploy.work.report("dbt builds and tests the read views")
        with _generated(settings, deploy.plan):
            build(settings, deploy.work.client, deploy.plan)


def _is_read(plan: Plan, live: Live) -> bool:
    """Whether there was a version before, which someone may be reading."""
    return live.plan is not None or any(step.relation in live.read_views for step in plan.steps)


@contextmanager
def _generated(settings: Settings, plan: Plan) -> Iterator[None]:
    """Has the generated project of ``plan`` in ``settings.realtime_dir``; what `duet compile` left is there again
    afterwards, where that is another one."""
    try:
        compiled = load_plan(settings)
    except ConfigError:
        compiled = None
    if compiled != plan:
        write(settings.realtime_dir, generate(plan))
    try:
        yield
    finally:
        if compiled is not None and compiled != plan:
            write(settings.realtime_dir, generate(compiled))


def _drop_unused(deploy: Deploy, grace: float) -> None:
    """Drops what deploys made and the plan does not use, after ``grace`` seconds; then columns that nothing reads."""
    work, plan = deploy.work, deploy.plan
    live = read_live(work.client, plan.database)
    found = changes(plan, live, deploy.options)
    dropped = [change for change in found if change.kind in DROPPED]
    columns = [change for change in found if change.kind is Kind.DROP_COLUMN]
    if dropped or columns or live.staging:
        time.sleep(grace)
    tables = [change.subject for change in dropped if change.kind is Kind.DROP_STATE]
    work.ledger.mark(tables, "dropped")
    for change in dropped:
        if change.kind is not Kind.DROP_STATE:
            work.client.execute(f"DROP TABLE IF EXISTS {_quoted(change.subject)}")
    if tables or columns:
        # An insert that still feeds a dropped view fails if the view's table goes too.
        wait_for_inserts(work.client, sorted(live.landing), INSERT_TIMEOUT)
    with publishing(work.client, plan.database, PATIENCE) if tables else nullcontext():
        for table in tables:
            drop_table(work.client, table)
    drop_columns(work, columns)
    for name in live.staging:
        work.client.execute(drop_database(name, work.client.cluster))


def _quoted(relation: str) -> str:
    return ".".join(quoted(part) for part in relation.split("."))


def _end_leftovers(work: Work) -> None:
    """Ends backfills of a deploy that was killed: the server goes on with a query whose client is gone."""
    sql = f"KILL QUERY{on_cluster(work.client.cluster)} WHERE Settings['log_comment'] = {{comment:String}} SYNC"
    work.client.execute(sql, {"comment": work.comment})
    undo_rebuilds(work.client, f"{work.ledger.database}_raw")
