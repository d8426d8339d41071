"""Going back to the version before, under inserts and a reader."""

from __future__ import annotations

import time

import msgspec
import pytest

from realtime.deploy.apply import deploy
from realtime.deploy.change import Kind
from realtime.deploy.ledger import Ledger
from realtime.deploy.live import active_plan, read_live
from realtime.deploy.options import Options
from realtime.deploy.promote import settle, stage_views
from realtime.deploy.rollback import rollback
from realtime.errors import NotFoundError
from realtime.planner.ir import LambdaSpec, Plan
from tests.deploy.conftest import MODELS, PER_SENDER, RENAMED, Load, Site, batch_per_room, fill, project

OTHER = {"per_sender": PER_SENDER}


def with_lambda(plan: Plan, version: str) -> Plan:
    """``plan`` with a lambda over ``per_room``."""
    spec = LambdaSpec(
        name="rooms", version=version, select="SELECT 1", batch="", params=(), columns=(), depends_on=("per_room",)
    )
    return msgspec.structs.replace(plan, lambdas=(spec,))


def test_back_and_forth_under_load(site: Site) -> None:
    first = _deployed(site, {**MODELS, **OTHER}, "one")
    second = _deployed(site, {**RENAMED, **OTHER}, "two")
    site.insert(0, 10)
    with Load(site, first=10, pause=0.02) as load:
        time.sleep(0.2)
        active = rollback(site.settings, site.client, site.database, "per_room", site.said.append)
        assert active == active_plan(site.client, site.database)
        assert {s.model: s for s in active.steps} == {s.model: s for s in first.steps}
        assert [spec.version for spec in active.lambdas] == ["one"]
        time.sleep(0.2)
        _the_next_deploy_would_go_forward_without_a_backfill(site, second)
        rollback(site.settings, site.client, site.database, "busiest", site.said.append)
        assert site.changes(second) == ()
        rollback(site.settings, site.client, site.database, "per_room", site.said.append)
        time.sleep(0.2)
    assert load.errors == []
    assert site.per_room() == batch_per_room(load.inserted)
    notes = [one.what for one in Ledger(site.client, site.database).history()]
    assert notes[:2] == ["rollback of per_room, busiest", "rollback of busiest, per_room"]
    with pytest.raises(NotFoundError, match="per_sender") as caught:
        rollback(site.settings, site.client, site.database, "per_sender", site.said.append)
    assert "busiest (until" in caught.value.remedy
    _what_is_kept_no_longer_goes(site, first)


def _deployed(site: Site, models: dict[str, str], version: str) -> Plan:
    """Deploys without dbt: the tests of `test_apply` have it."""
    plan = with_lambda(site.compile(project(models)), version)
    live = read_live(site.client, site.database)
    fill(site, plan)
    ledger = Ledger(site.client, site.database)
    if live.plan is not None:
        ledger.keep(["per_room", "busiest"], ledger.history()[0].id, 7)
    settle(site.client, plan)
    ledger.register(plan.lambdas)
    ledger.activate(plan)
    return plan


def _the_next_deploy_would_go_forward_without_a_backfill(site: Site, second: Plan) -> None:
    found = site.changes(second)
    assert [c.kind for c in found] == [Kind.REPLACE_VIEW, Kind.REPLACE_VIEW, Kind.MOVE_LAMBDA, Kind.KEEP_STATE]
    assert found[0].reason == (
        "model per_room has changed; the server runs the version before, after a rollback of per_room, busiest"
    )
    assert found[2].reason == "latest is one now"


def _what_is_kept_no_longer_goes(site: Site, active: Plan) -> None:
    """A deploy of the same models drops what was kept for longer than the setting says."""
    options = Options(keep_days=0)
    plan = active_plan(site.client, site.database)
    assert plan is not None
    deploy(site.settings, plan, site.client, site.said.append, options, stage_views)
    states = {s.relation for step in active.steps for s in step.states}
    views = {v.name for step in active.steps for s in step.states for v in s.views}
    assert {f"{site.database}_state.{name}" for name in site.names("_state")} == states | views
