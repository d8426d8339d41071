"""Back to the version of a model that the last deploy replaced, as long as it is kept.

What is kept goes on being fed by its own views, so nothing is backfilled and nothing is tested: read views are
swapped as in a deploy, and the old plan's part becomes active in one insert, the lambdas' `latest` with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.apply import Deploy, carry_out, working
from realtime.deploy.change import Change, Kind
from realtime.deploy.diff import ROLLBACK, changed_models, changes, sharing, versions_before
from realtime.deploy.live import Kept, Live, read_live
from realtime.deploy.merge import merged
from realtime.deploy.options import Options
from realtime.deploy.promote import stage_views
from realtime.errors import ConfigError, NotFoundError
from realtime.planner.ir import LambdaSpec, Plan
from realtime.settings import Settings


def rollback(settings: Settings, client: ClickHouse, database: str, model: str, report: Callable[[str], None]) -> Plan:
    """Makes the server run the version before of ``model``, of the models that changed with it and of the lambdas
    that changed with them; the plan that is active then.

    NotFoundError where none is kept, ConfigError where it does not go with what else is deployed, BusyError while a
    deploy runs, CommandError where a statement fails: what is served stays then.
    """
    with working(client, database, report) as work:
        live = read_live(client, database)
        version = _find(model, live)
        wanted, models = rolled_back(model, live, version)
        options = Options.load(settings)
        found = changes(wanted, live, options)
        _check(model, found)
        for change in found:
            report(str(change))
        note = ROLLBACK + ", ".join([model, *(other for other in models if other != model)])
        carry_out(
            Deploy(settings, wanted, work, live, found, options, note), lambda: stage_views(settings, client, wanted)
        )
        return wanted


def rolled_back(model: str, live: Live, version: Kept) -> tuple[Plan, tuple[str, ...]]:
    """The active plan with the version before of ``model`` and of the models that go along: those that it is made of
    or that read it, and have changed since; these models' names."""
    now, before = live.plan, version.plan
    assert now is not None
    models = _together(model, now, before)
    plan = merged(now, before, models, now.sources, _lambdas(now, before, models))
    there = {s.model for s in plan.steps} | {s.name for s in plan.sources}
    missing = sorted({d for step in plan.steps for d in step.depends_on} - there)
    if missing:
        raise ConfigError(
            f"model {model} can't go back: {', '.join(missing)}, which it needs, is not deployed any more",
            remedy="deploy the version that you want from the project's history: git checkout …, duet deploy",
        )
    return plan, tuple(sorted(models))


def _find(model: str, live: Live) -> Kept:
    """The version before of ``model``."""
    can = versions_before(live.plan, live, Options()) if live.plan is not None else {}
    if model in can:
        return can[model]
    names = ", ".join(f"{m} (until {k.until:%Y-%m-%d %H:%M}Z)" for m, k in can.items())
    raise NotFoundError(
        f"no version before of model {model} is kept",
        remedy=(f"these can be rolled back: {names}" if names else "none is kept of any model")
        + "; an older one comes back by deploying it: git checkout …, duet deploy",
    )


def _together(model: str, now: Plan, before: Plan) -> frozenset[str]:
    """Changed models that hang together with ``model``, in either version: what it reads was made for it, and one
    state may be of several."""
    changed = set(changed_models(before, now)) | {s.model for s in now.steps} - {s.model for s in before.steps}
    links = [(s.model, d) for plan in (now, before) for s in plan.steps for d in (*s.depends_on, *sharing(s))]
    found, waiting = {model}, [model]
    while waiting:
        one = waiting.pop()
        near = {b if a == one else a for a, b in links if one in (a, b)} & changed - found
        found |= near
        waiting += sorted(near)
    return frozenset(found)


def _lambdas(now: Plan, before: Plan, models: frozenset[str]) -> Iterable[LambdaSpec]:
    """Lambdas over what goes back are as they were then; others as they are."""
    yield from (spec for spec in now.lambdas if not models & set(spec.depends_on))
    yield from (spec for spec in before.lambdas if models & set(spec.depends_on))


def _check(model: str, found: Iterable[Change]) -> None:
    """ConfigError where the version before is not whole: a rollback makes nothing anew."""
    lost = [c.subject for c in found if c.kind in (Kind.CREATE_STATE, Kind.CREATE_REFRESH, Kind.CREATE_SOURCE)]
    if lost:
        raise ConfigError(
            f"model {model} can't go back: {', '.join(lost)} is not kept, since a model that changed with it has been "
            "deployed again",
            remedy="deploy the version that you want from the project's history: git checkout …, duet deploy",
        )
