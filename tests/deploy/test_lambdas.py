"""Lambdas deployed without models: over models that answer as in the project, and no others."""

from __future__ import annotations

import msgspec
import pytest

from realtime.deploy.apply import deploy
from realtime.deploy.change import Kind
from realtime.deploy.live import active_plan
from realtime.deploy.promote import stage_views
from realtime.deploy.selection import lambdas_plan
from realtime.errors import ConfigError, NotFoundError
from realtime.planner.ir import Plan, Together
from realtime.planner.planner import plan_project
from tests.deploy.conftest import MODELS, RENAMED, Site, project

ROOMS = "select room, messages from memory.main.per_room"
ONE = f'{ROOMS} where room = cast($room /* duet.param {{"name": "room", "type": "varchar"}} */ as varchar)'
LARGEST = {**MODELS, "per_room": MODELS["per_room"].replace("count(*)", "max(size) as largest, count(*)")}


def planned(queries: dict[str, str], models: dict[str, str] = MODELS, database: str = "shop") -> Plan:
    outcome = plan_project(project(models, queries=queries), database)
    assert not outcome.refusals, [str(r) for r in outcome.refusals]
    return outcome.plan


def names(plan: Plan) -> list[str]:
    return [spec.name for spec in plan.lambdas]


def test_all_or_those_that_are_named() -> None:
    live, plan = planned({"a": ROOMS, "gone": ROOMS}), planned({"a": f"{ROOMS} limit 1", "b": ROOMS})
    assert names(lambdas_plan(plan, live, [])) == ["a", "b"]
    only = lambdas_plan(plan, live, ["b"])
    assert names(only) == ["a", "b", "gone"]
    assert only.lambdas[0] == live.lambdas[0]
    assert (only.steps, only.sources) == (live.steps, live.sources)
    assert lambdas_plan(live, live, []) is live
    with pytest.raises(NotFoundError, match="the project has no lambda gone"):
        lambdas_plan(plan, live, ["gone"])


def test_a_model_that_answers_otherwise_is_needed_first() -> None:
    live = planned({})
    for models in (LARGEST, RENAMED, {**MODELS, "other": MODELS["per_room"]}):
        read = "other" if "other" in models else "per_room"
        plan = planned({"a": f"select room, total from memory.main.{read}", "b": "select 1 as one"}, models)
        with pytest.raises(ConfigError, match=f"lambda a reads {read}, which the server has not") as found:
            lambdas_plan(plan, live, [])
        assert found.value.remedy.endswith("duet deploy --select a")
        assert names(lambdas_plan(plan, live, ["b"])) == ["b"]


def test_a_model_that_is_only_ordered_otherwise_will_do() -> None:
    live, plan = planned({"a": ROOMS}), planned({"a": ONE})
    assert plan.steps != live.steps  # a look-up of one room orders the state, and makes its index finer
    found = lambdas_plan(plan, live, [])
    over_views = tuple(msgspec.structs.replace(spec, direct=None) for spec in plan.lambdas)
    assert (found.steps, found.lambdas) == (live.steps, over_views)


def test_a_state_that_is_not_there_is_not_read() -> None:
    live, plan = planned({}), planned({"a": ROOMS})
    state = live.steps[0].states[0].relation
    for name, kept in ((state, True), ("shop_state.shared__1", False)):
        together = Together(keys=("room",), members=(), select="", state=name)
        shared = msgspec.structs.replace(plan.lambdas[0], together=together)
        found = lambdas_plan(msgspec.structs.replace(plan, lambdas=(shared,)), live, [])
        assert (found.lambdas[0].together is not None) == kept


def test_nothing_but_lambdas_moves(site: Site) -> None:
    clickhouse, database = site.client, site.database
    site.deploy(project(queries={"a": ROOMS}), build=stage_views)
    live = active_plan(clickhouse, database)
    assert live is not None

    def built(*_: object) -> None:
        raise AssertionError("models are not built")

    wanted = lambdas_plan(planned({"a": ONE, "b": ROOMS}, database=database), live, [])
    assert {change.kind for change in site.changes(wanted)} <= {Kind.MOVE_LAMBDA, Kind.REGISTER_LAMBDA}
    states = site.names("_state")
    deploy(site.settings, wanted, clickhouse, site.said.append, build=built)
    assert site.changes(wanted) == ()
    assert site.names("_state") == states
    now = active_plan(clickhouse, database)
    assert now is not None
    assert names(now) == ["a", "b"]
    assert clickhouse.rows(now.lambdas[0].select, {"room": "room 1"}) == []
