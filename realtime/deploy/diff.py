"""What stands between a plan and the server: one record per thing that a deploy would do, with the reason.

`changes` looks and decides; `realtime.deploy.apply` acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from realtime.deploy.backfill import BACKFILL
from realtime.deploy.change import Change, Kind
from realtime.deploy.indexes import index_changes
from realtime.deploy.live import Kept, Live, ReadView
from realtime.deploy.merge import same_plan
from realtime.deploy.options import DEFAULT, Options
from realtime.deploy.replace import NEXT
from realtime.deploy.source_changes import fits, source_changes
from realtime.deploy.topics import topic_changes
from realtime.deploy.unpublished import unpublished_of
from realtime.errors import ConfigError
from realtime.planner.ir import CarriedTest, DataTest, LambdaSpec, Plan, Published, Refresh, State, Step

ROLLBACK = "rollback of "
"""Begins the note of what is active by a rollback; the models follow."""


def changes(plan: Plan, live: Live, options: Options = DEFAULT) -> tuple[Change, ...]:
    """What has to be done so that the server runs ``plan``, in the order of a deploy; empty where it does already.

    Tables of sources that are gone from the project are none of it (`realtime.deploy.source_changes.orphans`).
    SourceError where a source changed in a way that its landing table can't follow without losing rows, ConfigError
    where a read view's name is taken by something that no deploy made.
    """
    found = [change for source in plan.sources for change in source_changes(source, live)]
    late = [c for c in found if c.kind is Kind.DROP_COLUMN]
    found = [c for c in found if c.kind is not Kind.DROP_COLUMN]
    found += topic_changes(plan, live)
    found += index_changes(plan, live)
    found += _states(plan, live, options)
    found += _published(plan, live)
    found += _refreshes(plan, live)
    found += [change for step in plan.steps for change in _read_view(step, live)]
    found += _tests(plan, live)
    found += _lambdas(plan, live)
    found += _leftovers(plan, live, options)
    found += late
    if not found and (live.plan is None or not same_plan(plan, live.plan)):
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


def same_version(one: Step, other: Step) -> bool:
    """Whether both keep and answer the same: a description may differ."""
    typed = ([(c.name, c.type, c.clickhouse) for c in step.columns] for step in (one, other))
    tables = (objects_of(step) for step in (one, other))  # named by all that they keep
    return one.select == other.select and next(tables) == next(tables) and next(typed) == next(typed)


def versions_before(plan: Plan, live: Live, options: Options) -> dict[str, Kept]:
    """What can be rolled back to once ``plan`` is deployed, by model: of a model that it changes the version that is
    active now, of others what is kept already. None of a version whose sources have changed under it."""
    if live.plan is None:
        return {}
    until = live.now + timedelta(days=options.keep_days)
    kept = {model: k for model, k in live.kept.items() if k.until > live.now}
    kept |= {model: Kept(live.plan, until) for model in changed_models(live.plan, plan)}
    return {m: k for m, k in kept.items() if options.keep_days and _reads_as_before(m, k.plan, plan)}


def changed_models(before: Plan, after: Plan) -> tuple[str, ...]:
    """Models of ``before`` that are another version in ``after``, or are gone there."""
    now = {step.model: step for step in after.steps}
    return tuple(s.model for s in before.steps if s.model not in now or not same_version(s, now[s.model]))


def read_below(model: str, plan: Plan) -> frozenset[str]:
    """Names of models and sources that ``model`` of ``plan`` is made of."""
    steps = {step.model: step for step in plan.steps}
    found, waiting = set[str](), [model]
    while waiting:
        step = steps.get(waiting.pop())
        fresh = set(step.depends_on) - found if step is not None else set()
        found |= fresh
        waiting += sorted(fresh)
    return frozenset(found)


def _reads_as_before(model: str, before: Plan, after: Plan) -> bool:
    """Whether the sources of the version of ``model`` in ``before``, and of what its state is fed by, are the same for
    it in ``after``: a state that can't be fed any more would refuse every insert."""
    together = {model}.union(*(sharing(step) for step in before.steps if step.model == model))
    below = frozenset[str]().union(*(read_below(each, before) for each in together))
    now = {s.name: s for s in after.sources}
    return all(s.name in now and fits(s, now[s.name]) for s in before.sources if s.name in below)


def kept_objects(kept: Mapping[str, Kept]) -> dict[str, str]:
    """Tables and views of versions that are kept, with the model that each is for."""
    found: dict[str, str] = {}
    for model, version in kept.items():
        for step in version.plan.steps:
            if step.model == model:
                found |= dict.fromkeys(objects_of(step), model)
    return found


def objects_of(step: Step) -> list[str]:
    """Relations of the tables that keep ``step`` and of the views that fill them."""
    found = [name for state in step.states for name in (state.relation, *(view.name for view in state.views))]
    found += [step.refresh.relation, step.refresh.view] if step.refresh is not None else []
    return found + ([step.published.relation] if step.published is not None else [])


def sharing(step: Step) -> frozenset[str]:
    """Names of the models with which ``step`` shares a state."""
    return frozenset(model for state in step.states for model in state.models) - {step.model}


def _states(plan: Plan, live: Live, options: Options) -> Iterator[Change]:
    seen = set[str]()
    for step in plan.steps:
        for state in (s for s in step.states if s.relation not in seen):
            seen.add(state.relation)
            tables = {view.landing for view in state.views}
            rows = sum(live.landing[t].rows for t in tables if t in live.landing)
            if not is_whole(state, live):
                yield _new_state(plan, step, state, live, options, rows)
            elif options.backfill and state.relation in live.late:
                since = f"it was begun without a backfill at {live.late[state.relation]:%Y-%m-%d %H:%M:%S}Z"
                yield Change(Kind.BACKFILL_STATE, state.relation, since, rows)


def _new_state(plan: Plan, step: Step, state: State, live: Live, options: Options, rows: int) -> Change:
    """A state to make. It is destructive where it takes the place of one that holds rows which can't be read again."""
    why, landings = _why_new(step, state, live), {view.landing for view in state.views}
    if options.backfill is False:
        return Change(Kind.CREATE_STATE, state.relation, f"{why}; it begins now, without a backfill")
    gone = [s.name for s in plan.sources if s.landing in landings and s.ttl and s.name not in options.lake]
    if not gone or not rows:
        return Change(Kind.CREATE_STATE, state.relation, why, rows)
    why += f"; rows that the ttl of {', '.join(gone)} has deleted are not in it, for they were not exported to the lake"
    before = live.plan is not None and state.name in {s.name for s in states_of(live.plan).values()}
    return Change(Kind.CREATE_STATE, state.relation, why, rows, destructive=before)


def _published(plan: Plan, live: Live) -> Iterator[Change]:
    for step in plan.steps:
        if step.published is not None and step.published.relation not in live.states:
            yield Change(Kind.PUBLISH, step.published.relation, _why_new(step, step.published, live))


def _refreshes(plan: Plan, live: Live) -> Iterator[Change]:
    unpublished = unpublished_of(plan, live)
    for step in plan.steps:
        refresh = step.refresh
        if refresh is None or is_filled(refresh, live):
            continue
        if not (refresh.relation in unpublished and refresh.relation in live.states):
            yield Change(Kind.CREATE_REFRESH, refresh.relation, _why_new(step, refresh, live))


def _why_new(step: Step, made: State | Refresh | Published, live: Live) -> str:
    if made.relation in live.states:
        return "an earlier deploy did not finish it"
    steps = live.plan.steps if live.plan is not None else ()
    before = {t.name for s in steps for t in (*s.states, s.refresh, s.published) if t is not None}
    if isinstance(made, State) and made.models:
        models = ", ".join(made.models)
        changed = f"what models {models} keep together has changed"
        return changed if made.name in before else f"a lambda reads models {models} together"
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
        yield Change(Kind.REPLACE_VIEW, step.relation, f"model {step.model} has changed" + _rolled_back(step, live))


def _rolled_back(step: Step, live: Live) -> str:
    """What to say of a view that a rollback made."""
    back = live.note.removeprefix(ROLLBACK).split(", ") if live.note.startswith(ROLLBACK) else []
    return f"; the server runs the version before, after a {live.note}" if step.model in back else ""


def _reads_staging(view: ReadView, live: Live) -> bool:
    return f"{live.database}_staging_" in view.select


def _steps(live: Live) -> Mapping[str, Step]:
    return {step.relation: step for step in live.plan.steps} if live.plan is not None else {}


def _tests(plan: Plan, live: Live) -> Iterator[Change]:
    """Tests that the new version has to pass and the active one had not, and those that are gone."""
    if live.plan is None:
        return
    now: tuple[CarriedTest | DataTest, ...] = (*plan.carried, *(t for t in plan.tests if t.select))
    before: tuple[CarriedTest | DataTest, ...] = (*live.plan.carried, *(t for t in live.plan.tests if t.select))
    names_now, names_before = {str(t) for t in now}, {str(t) for t in before}
    for test in now:
        if test not in before:
            reason = "it has changed" if str(test) in names_before else "it is new"
            yield Change(Kind.RUN_TEST, str(test), reason)
    for test in before:
        if test not in now and str(test) not in names_now:
            yield Change(Kind.DROP_TEST, str(test), "the project has no such test any more")


def _lambdas(plan: Plan, live: Live) -> Iterator[Change]:
    before = {spec.name: spec for spec in live.plan.lambdas} if live.plan is not None else {}
    for spec in plan.lambdas:
        if (spec.name, spec.version) not in live.lambdas:
            reason = "it has changed" if spec.name in before else "it is new"
            yield Change(Kind.REGISTER_LAMBDA, f"{spec.name}@{spec.version}", reason)
        elif spec.name not in before or before[spec.name].version != spec.version:
            yield Change(Kind.MOVE_LAMBDA, f"{spec.name}@{spec.version}", _moved(before.get(spec.name)))
    for name in sorted(set(before) - {spec.name for spec in plan.lambdas}):
        reason = "the project has no such lambda any more; its versions can still be called by their names"
        yield Change(Kind.RETIRE_LAMBDA, name, reason)


def _moved(before: LambdaSpec | None) -> str:
    return f"latest is {before.version} now" if before is not None else "it is known, but not active"


def _leftovers(plan: Plan, live: Live, options: Options) -> Iterator[Change]:
    """What deploys made and the plan does not use; other objects in the database of read views are left alone."""
    used = {name for step in plan.steps for name in objects_of(step)}
    kept = versions_before(plan, live, options)
    held, already = kept_objects(kept), kept_objects(live.kept)
    # Another process may be filling the next one of a table that is in use.
    used |= {relation + NEXT for relation in used}
    unfinished = tuple(f"{s.relation}{BACKFILL}_" for s in states_of(plan).values() if _is_filling(s, live, options))
    for relation in sorted({*live.states, *live.views} - used):
        if relation.startswith(unfinished):
            continue
        if relation not in held:
            kind = Kind.DROP_MATERIALIZED_VIEW if relation in live.views else Kind.DROP_STATE
            yield Change(kind, relation, _why_dropped(relation, already, live))
        elif relation not in already and relation in live.states:
            model = held[relation]
            until = f"until {kept[model].until:%Y-%m-%d}"
            yield Change(Kind.KEEP_STATE, relation, f"it goes on being fed {until}, for duet rollback {model}")
    yield from _unused_views({step.relation for step in plan.steps}, live)


def _is_filling(state: State, live: Live, options: Options) -> bool:
    """Whether a deploy goes on with what an earlier one backfilled."""
    return not is_whole(state, live) or bool(options.backfill and state.relation in live.late)


def _why_dropped(relation: str, kept: Mapping[str, str], live: Live) -> str:
    if relation not in kept:
        return "a backfill that was not finished left it" if f"{BACKFILL}_" in relation else "no model uses it"
    past = live.kept[kept[relation]].until
    over = f"that was until {past:%Y-%m-%d}" if past <= live.now else "that is over with this deploy"
    return f"it was kept for duet rollback {kept[relation]}; {over}"


def _unused_views(wanted: Iterable[str], live: Live) -> Iterator[Change]:
    kept = frozenset(wanted)
    for relation, view in sorted(live.read_views.items()):
        if view.deployed and relation not in kept:
            yield Change(Kind.DROP_VIEW, relation, "its model is gone")
    for name in live.staging:
        yield Change(Kind.DROP_STAGING, name, "an earlier deploy did not finish")


def _recorded(live: Live) -> str:
    return "nothing is deployed yet" if live.plan is None else "descriptions or reasons have changed"
