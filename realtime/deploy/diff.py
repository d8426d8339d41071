"""What stands between a plan and the server: one record per thing that a deploy would do, with the reason.

`changes` looks and decides; `realtime.deploy.apply` acts.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

import msgspec

from realtime.deploy.live import Live, ReadView, Table
from realtime.emit.landing import BATCH_ID, HIDDEN, column_type, engine, is_nested, sorting_key
from realtime.emit.names import quoted
from realtime.errors import ConfigError, SourceError
from realtime.planner.ir import Plan, Refresh, SourceSpec, State, Step


class Kind(enum.StrEnum):
    """What is done to the subject of a change."""

    CREATE_SOURCE = "create source"
    ADD_COLUMN = "add column"
    CREATE_STATE = "create state"
    CREATE_REFRESH = "create refreshed table"
    DROP_STATE = "drop state"
    DROP_MATERIALIZED_VIEW = "drop materialized view"
    CREATE_VIEW = "create read view"
    REPLACE_VIEW = "replace read view"
    DROP_VIEW = "drop read view"
    REGISTER_LAMBDA = "register lambda"
    DROP_STAGING = "drop staging"
    RECORD_PLAN = "record plan"


class Change(msgspec.Struct, frozen=True):
    """One thing to do: ``subject`` is its relation (a column's with its name), ``rows`` about how many landing rows
    it reads where it reads any."""

    kind: Kind
    subject: str
    reason: str
    rows: int = 0

    def __str__(self) -> str:
        backfill = f", about {self.rows:,} rows to backfill" if self.rows else ""
        return f"{self.kind} {self.subject}: {self.reason}{backfill}"


def changes(plan: Plan, live: Live) -> tuple[Change, ...]:
    """What has to be done so that the server runs ``plan``, in the order of a deploy; empty where it does already.

    SourceError where a source changed in a way that its landing table can't follow without losing rows, ConfigError
    where a read view's name is taken by something that no deploy made.
    """
    found = [change for source in plan.sources for change in _source(source, live)]
    found += _states(plan, live)
    found += _refreshes(plan, live)
    found += [change for step in plan.steps for change in _read_view(step, live)]
    found += _lambdas(plan, live)
    found += _leftovers(plan, live)
    if not found and live.plan != plan:
        found.append(Change(Kind.RECORD_PLAN, plan.database, _recorded(live)))
    return tuple(found)


def states_of(plan: Plan) -> dict[str, State]:
    """Every state of the plan by its relation, once."""
    return {state.relation: state for step in plan.steps for state in step.states}


def refreshes_of(plan: Plan) -> dict[str, Refresh]:
    """Every refreshed table of the plan by its relation, those that others read first."""
    return {step.refresh.relation: step.refresh for step in plan.steps if step.refresh is not None}


def is_filled(refresh: Refresh, live: Live) -> bool:
    """Whether the table of ``refresh`` was filled once, and goes on being refreshed."""
    return refresh.relation in live.complete and refresh.relation in live.states and refresh.view in live.views


def is_whole(state: State, live: Live) -> bool:
    """Whether ``state`` holds every landing row and goes on taking them."""
    there = state.relation in live.complete and state.relation in live.states
    return there and all(view.name in live.views and view.landing in live.landing for view in state.views)


def _source(source: SourceSpec, live: Live) -> Iterator[Change]:
    table = live.landing.get(source.landing)
    wanted_engine = engine(source)
    if table is None:
        yield Change(Kind.CREATE_SOURCE, source.landing, f"source {source.name} is new")
        return
    if source.quarantine not in live.landing:
        yield Change(Kind.CREATE_SOURCE, source.quarantine, "an earlier deploy did not finish")
    _check_table(source, table, wanted_engine, live)
    if BATCH_ID not in table.columns:
        yield Change(Kind.ADD_COLUMN, f"{source.landing}.{BATCH_ID}", "by it a batch of rows is found again")
    for column in source.columns:
        if column.name not in table.columns:
            if table.rows and column_type(source, column) == column.clickhouse:
                nested = "a list, struct or map can't be NULL" if is_nested(column) else "it is declared not_null"
                raise SourceError(
                    f"source {source.name}: column {column.name} is new, and the {table.rows:,} rows that are there "
                    f"already would have no value for it: {nested}",
                    remedy="declare the column without not_null, or take the new rows in a source of their own",
                )
            yield Change(Kind.ADD_COLUMN, f"{source.landing}.{column.name}", f"source {source.name} declares it now")


def _check_table(source: SourceSpec, table: Table, wanted_engine: str, live: Live) -> None:
    """SourceError where the landing table can't become what ``source`` declares."""
    before = next((s for s in live.plan.sources if s.name == source.name), None) if live.plan is not None else None
    replacing = table.engine.endswith("ReplacingMergeTree")
    if replacing != (source.mode == "upsert"):
        raise _changed(source, f"mode is {source.mode} now", "upsert" if replacing else "append")
    for what, now, then in (
        ("version", wanted_engine, engine(before) if before is not None else wanted_engine),
        ("order", _plain(", ".join(sorting_key(source))), _plain(table.sorting_key).strip("()")),
        ("partition_by", source.partition_by, before.partition_by if before is not None else source.partition_by),
        ("ttl", source.ttl, before.ttl if before is not None else source.ttl),
    ):
        if now != then:
            raise _changed(source, f"{what} is {now or 'not set'} now", then or "not set")
    declared = {c.name: c for c in source.columns}
    for name, there in table.columns.items():
        if name in HIDDEN:
            continue
        if name not in declared:
            raise _changed(source, f"column {name} is gone", f"it as {there}")
        wanted = column_type(source, declared[name])
        # A column that may hold NULLs also takes rows that hold none: not_null is checked where rows come in.
        if _plain(there) not in (_plain(wanted), f"Nullable({_plain(wanted)})"):
            raise _changed(source, f"column {name} is {wanted} now", there)


def _changed(source: SourceSpec, what: str, before: str) -> SourceError:
    return SourceError(
        f"source {source.name}: {what}, where {source.landing} has {before}: the rows that are there can't follow",
        remedy="undo the change or declare the new form as another source; to give up the rows that are there: "
        f"DROP TABLE {'.'.join(quoted(p) for p in source.landing.split('.'))}",
    )


def _plain(text: str) -> str:
    """A type or key without the backquotes, which the server prints only where a name needs them."""
    return text.replace("`", "")


def _states(plan: Plan, live: Live) -> Iterator[Change]:
    for step in plan.steps:
        for state in step.states:
            if not is_whole(state, live):
                tables = {view.landing for view in state.views}
                rows = sum(live.landing[t].rows for t in tables if t in live.landing)
                yield Change(Kind.CREATE_STATE, state.relation, _why_new(step, state, live), rows)


def _refreshes(plan: Plan, live: Live) -> Iterator[Change]:
    for step in plan.steps:
        if step.refresh is not None and not is_filled(step.refresh, live):
            yield Change(Kind.CREATE_REFRESH, step.refresh.relation, _why_new(step, step.refresh, live))


def _why_new(step: Step, made: State | Refresh, live: Live) -> str:
    if made.relation in live.states:
        return "an earlier deploy did not finish it"
    tables = (states_of, refreshes_of)
    before = {t.name for of in tables for t in of(live.plan).values()} if live.plan is not None else set()
    return f"what model {step.model} keeps has changed" if made.name in before else f"model {step.model} is new"


def _read_view(step: Step, live: Live) -> Iterator[Change]:
    there = live.read_views.get(step.relation)
    if there is None:
        yield Change(Kind.CREATE_VIEW, step.relation, f"model {step.model} is new")
        return
    if there.engine != "View" or not (there.deployed or _reads_staging(there, live)):
        raise ConfigError(
            f"{step.relation} exists already ({there.engine}) and was not made by Duet",
            remedy="rename or drop it, or deploy to another database (`schema` of the profile's ClickHouse target)",
        )
    if _reads_staging(there, live):
        yield Change(Kind.REPLACE_VIEW, step.relation, "an earlier deploy did not finish it")
    elif (before := _steps(live).get(step.relation)) is None:
        yield Change(Kind.REPLACE_VIEW, step.relation, "it is not of the active plan")
    elif (before.select, before.columns) != (step.select, step.columns):
        yield Change(Kind.REPLACE_VIEW, step.relation, f"model {step.model} has changed")


def _reads_staging(view: ReadView, live: Live) -> bool:
    return f"{live.database}_staging_" in view.select


def _steps(live: Live) -> Mapping[str, Step]:
    return {step.relation: step for step in live.plan.steps} if live.plan is not None else {}


def _lambdas(plan: Plan, live: Live) -> Iterator[Change]:
    before = {spec.name for spec in live.plan.lambdas} if live.plan is not None else set()
    for spec in plan.lambdas:
        if (spec.name, spec.version) not in live.lambdas:
            reason = "it has changed" if spec.name in before else "it is new"
            yield Change(Kind.REGISTER_LAMBDA, f"{spec.name}@{spec.version}", reason)


def _leftovers(plan: Plan, live: Live) -> Iterator[Change]:
    """What deploys made and the plan does not use; other objects in the database of read views are left alone."""
    states, refreshes = states_of(plan), refreshes_of(plan)
    views = {view.name for state in states.values() for view in state.views} | {r.view for r in refreshes.values()}
    for relation in sorted({*live.states, *live.views} - {*states, *refreshes} - views):
        kind = Kind.DROP_MATERIALIZED_VIEW if relation in live.views else Kind.DROP_STATE
        yield Change(kind, relation, "no model uses it")
    kept = {step.relation for step in plan.steps}
    for relation, view in sorted(live.read_views.items()):
        if view.deployed and relation not in kept:
            yield Change(Kind.DROP_VIEW, relation, "its model is gone")
    for name in live.staging:
        yield Change(Kind.DROP_STAGING, name, "an earlier deploy did not finish")


def _recorded(live: Live) -> str:
    return "nothing is deployed yet" if live.plan is None else "descriptions, tests or lambdas have changed"
