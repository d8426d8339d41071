"""A deploy of a part of the project: what is selected and what it is made of; the rest stays as it is on the server."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.diff import changed_models, read_below, sharing
from realtime.deploy.live import active_plan
from realtime.deploy.merge import merged, same_plan
from realtime.deploy.source_changes import fits
from realtime.errors import ConfigError, NotFoundError
from realtime.planner.ir import Column, LambdaSpec, Plan, SourceSpec, Step
from realtime.planner.own_rows import own_rows
from realtime.project.dbt import run_dbt
from realtime.project.profile import profiles_dir
from realtime.settings import Settings


def select_plan(settings: Settings, client: ClickHouse, plan: Plan, select: Sequence[str]) -> Plan:
    """The active plan with what ``select`` (dbt's syntax) names from ``plan``. ConfigError as `selected_plan`, or
    where nothing is selected."""
    names = _selected_names(settings, select)
    live = active_plan(client, plan.database) or msgspec.structs.replace(
        plan, sources=(), steps=(), lambdas=(), tests=(), carried=()
    )
    known = {s.model for s in plan.steps} | {s.name for s in plan.lambdas} | {s.name for s in plan.sources}
    if not names & known:
        raise ConfigError(
            f"--select {' '.join(select)} names nothing that is kept in real time",
            remedy="select models, lambdas or sources as dbt does: a name, orders+, tag:nightly, path:models/shop",
        )
    return selected_plan(plan, live, names & known)


def selected_plan(plan: Plan, live: Plan, names: frozenset[str]) -> Plan:
    """``live`` with the models, lambdas and sources ``names`` as they are in ``plan``, and with those that these are
    made of or share a state with, where they have changed.

    ConfigError where something that is not selected reads a column that would be gone or of another type.
    """
    models = _selected_models(plan, live, names)
    read = {name for model in models for name in read_below(model, plan)} | names
    sources = list(_sources(plan, live, frozenset(read)))
    lambdas = list(_lambdas(plan, live, names))
    _check_readers(plan, live, models, sources, lambdas)
    found = merged(live, plan, models, sources, lambdas)
    return plan if same_plan(found, plan) else found


def lambdas_plan(plan: Plan, live: Plan, names: Sequence[str]) -> Plan:
    """``live`` with the lambdas ``names`` as they are in ``plan``; without names, with all of them and no others.

    NotFoundError where ``plan`` has no such lambda, ConfigError where one reads a model that is not on the server, or
    answers otherwise there.
    """
    known = {spec.name for spec in plan.lambdas}
    for name in names:
        if name not in known:
            raise NotFoundError(f"the project has no lambda {name}", remedy=f"it has {', '.join(sorted(known))}")
    chosen = frozenset(names or known | {spec.name for spec in live.lambdas})
    for spec in plan.lambdas:
        other = _different(spec, plan, live) if spec.name in chosen else []
        if other:
            raise ConfigError(
                f"lambda {spec.name} reads {', '.join(other)}, which the server has not as in the project",
                remedy=f"deploy it with what it reads: duet deploy --select {spec.name}",
            )
    states = {state.relation for step in live.steps for state in step.states}
    lambdas = (_over(spec, states) for spec in _lambdas(plan, live, chosen))
    found = merged(live, plan, frozenset(), live.sources, lambdas)
    return live if same_plan(found, live) else found


def _over(spec: LambdaSpec, states: Collection[str]) -> LambdaSpec:
    """``spec``, which reads its models' views where the state that they would share is none of ``states``."""
    if spec.together is None or spec.together.state in states:
        return spec
    return msgspec.structs.replace(spec, together=None)


def _different(spec: LambdaSpec, plan: Plan, live: Plan) -> list[str]:
    """Models and sources below ``spec`` that are new in ``plan``, or give other rows than those in ``live``."""
    below = {name for read in spec.depends_on for name in {read} | read_below(read, plan)}
    rows = (
        {s.model: _rows(s) for s in of.steps} | {s.name: _typed(s.columns) for s in of.sources} for of in (plan, live)
    )
    now, there = next(rows), next(rows)
    return sorted(name for name in below if name in now and now[name] != there.get(name))


def _rows(step: Step) -> object:
    """What decides the rows of ``step``, whatever its tables are."""
    return own_rows(step), step.refresh, step.published, _typed(step.columns)


def _typed(columns: Iterable[Column]) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in columns]


def _selected_names(settings: Settings, select: Sequence[str]) -> frozenset[str]:
    """Names of what dbt selects: sources as ``chat.messages``."""
    root = settings.project_dir
    arguments = ["--quiet", "ls", "--select", *select, "--output", "json", "--output-keys", "unique_id"]
    said = run_dbt(arguments, root, profiles_dir(root))
    ids = [str(json.loads(line)["unique_id"]) for line in said.splitlines() if line.startswith("{")]
    return frozenset(".".join(i.split(".")[2:]) for i in ids if i.split(".")[0] in ("model", "source", "analysis"))


def _with_below(plan: Plan, live: Plan, names: frozenset[str]) -> Iterable[str]:
    """Selected models, and those below them and below selected lambdas that the server has not as they are."""
    there = {step.model for step in live.steps}
    changed = set(changed_models(live, plan))
    wanted = {step.model for step in plan.steps if step.model in names}
    lambdas = {d for spec in plan.lambdas if spec.name in names for d in spec.depends_on}
    yield from wanted
    for name in [*wanted, *lambdas]:
        below = {name} | read_below(name, plan)
        yield from (s.model for s in plan.steps if s.model in below and (s.model not in there or s.model in changed))


def _sources(plan: Plan, live: Plan, read: frozenset[str]) -> Iterable[SourceSpec]:
    now = {s.name: s for s in plan.sources}
    yield from (now[s.name] if s.name in read and s.name in now else s for s in live.sources)
    there = {s.name for s in live.sources}
    yield from (s for s in plan.sources if s.name in read and s.name not in there)


def _lambdas(plan: Plan, live: Plan, names: frozenset[str]) -> Iterable[LambdaSpec]:
    now = {(spec.name, spec.version): spec for spec in plan.lambdas}
    for spec in live.lambdas:
        if spec.name not in names:  # the version stays; from which state it is answered is the new plan's to say
            newer = now.get((spec.name, spec.version), spec)
            yield msgspec.structs.replace(spec, together=newer.together, direct=newer.direct, apart=newer.apart)
    yield from (spec for spec in plan.lambdas if spec.name in names)


def _selected_models(plan: Plan, live: Plan, names: frozenset[str]) -> frozenset[str]:
    """The models to take from ``plan``: what `_with_below` gives, and what would share a state with them no more, or
    does now. ConfigError where the project has such a model no more."""
    while True:
        models = frozenset(_with_below(plan, live, names))
        moved = models & set(changed_models(live, plan)) | models - {s.model for s in live.steps}
        more = {m for of in (plan, live) for s in of.steps if s.model in moved for m in sharing(s)} - models
        if not more:
            return models
        gone = sorted(more - {s.model for s in plan.steps})
        if gone:
            raise ConfigError(
                f"{', '.join(gone)}, which the project has no more, shares a state with what is selected",
                remedy="deploy without --select",
            )
        names |= more


def _check_readers(
    plan: Plan, live: Plan, models: frozenset[str], sources: Sequence[SourceSpec], lambdas: Sequence[LambdaSpec]
) -> None:
    """ConfigError naming what stays as it is and could not read what is deployed."""
    before, after = {s.model: s for s in live.steps}, {s.model: s for s in plan.steps}
    moved = {m for m in models if m in before and m in after and not _answers_as_before(before[m], after[m])}
    moved |= {s.name for s in live.sources for now in sources if s.name == now.name and not fits(s, now)}
    staying = [s for s in live.steps if s.model not in models]
    broken = [s.model for s in staying if any(_reads(s, name) for name in moved)]
    broken += [spec.name for spec in lambdas if spec in live.lambdas and moved & set(spec.depends_on)]
    if broken:
        raise ConfigError(
            f"{', '.join(sorted(moved))} would change in columns that {', '.join(broken)} reads, which is not selected",
            remedy=f"select it too: --select {' '.join(f'{name}+' for name in sorted(moved))}",
        )


def _answers_as_before(before: Step, after: Step) -> bool:
    """Whether every column of ``before`` is in ``after``, of the same type, and rows have the same key."""
    types = {c.name: c.type for c in after.columns}
    return before.keys == after.keys and all(types.get(c.name) == c.type for c in before.columns)


def _reads(step: Step, name: str) -> bool:
    """Whether the view of ``step`` reads that of model ``name``, or is made of source ``name``; a stream that was
    written into it is its own."""
    return f"ref('{name}')" in step.select or ("." in name and name in step.depends_on)
