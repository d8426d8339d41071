"""States that models share: made and made anew under inserts and a reader, taken back, and deployed in part."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.diff import states_of
from realtime.deploy.live import active_plan
from realtime.deploy.promote import stage_views
from realtime.deploy.rollback import rollback
from realtime.deploy.selection import lambdas_plan, selected_plan
from realtime.errors import ConfigError
from realtime.planner.ir import LambdaSpec, Plan
from realtime.planner.planner import plan_project
from realtime.project.manifest import Project, Query
from tests.deploy.conftest import PER_ROOM, Load, Site, batch_per_room, project

MODELS = {
    "per_room": PER_ROOM,
    "senders": "select room, count(distinct sender) as senders from memory.chat.messages where size > 3 group by room",
    "busiest": "select max(messages) as most, sum(messages) as all_messages from memory.main.per_room",
}
CHANGED = {**MODELS, "senders": MODELS["senders"].replace("size > 3", "size > 4")}
OF_ROOM = """
select r.messages, r.total, s.senders from memory.main.per_room as r
left join memory.main.senders as s on r.room = s.room
where r.room = cast($room /* duet.param {"name": "room", "type": "varchar"} */ as varchar)"""


def authored(models: Mapping[str, str], *, asked: bool = True) -> Project:
    """The models, and a lambda that reads two of them together where it is ``asked`` for."""
    found = project(models)
    reads = ("model.shop.per_room", "model.shop.senders")
    lambdas = (Query("of_room", OF_ROOM, reads, {}, "", "realtime/lambdas/of_room.sql"),) if asked else ()
    return dataclasses.replace(found, queries=lambdas)


def planned(models: Mapping[str, str], *, asked: bool = True) -> Plan:
    outcome = plan_project(authored(models, asked=asked), "shop")
    assert not outcome.refusals
    return outcome.plan


def deployed(site: Site, models: Mapping[str, str], *, asked: bool = True) -> Plan:
    """Deploys without dbt: the tests of `test_apply` have it."""
    return site.deploy(authored(models, asked=asked), build=stage_views)


def answers(client: ClickHouse, plan: Plan) -> list[Any]:
    """What the lambda answers for every room and one that is not there, from what its models share."""
    (spec,) = plan.lambdas
    assert spec.together is not None, spec.apart
    rooms = [f"room {i}" for i in range(4)]
    alone = [client.rows(spec.together.select, {"room": room}) for room in rooms]
    assert alone == [client.rows(spec.select, {"room": room}) for room in rooms]
    return [tuple(row.values()) for rows in alone for row in rows]


def expected(site: Site, count: int, least: int) -> list[Any]:
    """The same of messages 0 to ``count``, with the senders of messages that are larger than ``least``."""
    found = []
    for room, messages, total in batch_per_room(count):
        large = [i for i in range(count) if f"room {i % 3}" == room and i % 11 > least]
        found.append((messages, total, len({i % 7 for i in large}) if large else None))
    return found


def test_shared_changed_and_taken_back_under_load(site: Site) -> None:
    deployed(site, MODELS, asked=False)
    site.insert(0, 10)
    with Load(site, first=10, pause=0.02) as load:
        first = deployed(site, MODELS)
        assert states_of(first).keys() == {first.steps[0].states[0].relation}
        time.sleep(0.1)
        second = deployed(site, CHANGED)
        assert not states_of(second).keys() & states_of(first).keys()
        time.sleep(0.1)
        back = rollback(site.settings, site.client, site.database, "per_room", site.said.append)
        time.sleep(0.1)
    assert load.errors == []
    assert back == active_plan(site.client, site.database)
    assert {s.model: s for s in back.steps} == {s.model: s for s in first.steps}
    assert answers(site.client, back) == expected(site, load.inserted, 3)
    assert site.per_room() == batch_per_room(load.inserted)
    # The version that was left goes on being fed: going forward again needs no backfill.
    assert deployed(site, CHANGED) == second
    site.insert(load.inserted, 5)
    assert answers(site.client, second) == expected(site, load.inserted + 5, 4)


def asks(plan: Plan) -> LambdaSpec:
    (spec,) = plan.lambdas
    return spec


def test_what_shares_a_state_is_selected_with_it() -> None:
    live, plan = planned(MODELS), planned(CHANGED)
    assert selected_plan(plan, live, frozenset({"senders"})) == plan
    assert selected_plan(plan, live, frozenset({"busiest"})) == plan
    assert selected_plan(live, live, frozenset({"per_room"})) == live
    apart = planned(MODELS, asked=False)
    found = selected_plan(apart, live, frozenset({"per_room"}))
    assert found.steps == apart.steps
    # The lambda stays, without its way to the state that is gone.
    assert (asks(found).together, asks(found).version) == (None, asks(live).version)
    gone = {name: sql for name, sql in CHANGED.items() if name != "senders"}
    with pytest.raises(ConfigError, match="senders, which the project has no more"):
        selected_plan(planned(gone, asked=False), live, frozenset({"per_room"}))


def test_a_state_that_is_read_otherwise_now_is_read_through_views() -> None:
    other = {"other": "select sender, count(*) as messages from memory.chat.messages group by sender"}
    shown = {**MODELS, **other, "per_room": PER_ROOM.replace("sum(size)", "1 + sum(size)")}
    live, plan = planned(MODELS), planned(shown)
    found = selected_plan(plan, live, frozenset({"other"}))
    assert asks(found).together is None
    assert asks(found).version == asks(plan).version == asks(live).version
    assert {s.model: s for s in found.steps if s.model != "other"} == {s.model: s for s in live.steps}
    assert asks(plan).together is not None


def test_a_lambda_alone_is_deployed_over_states_as_they_are() -> None:
    apart, plan = planned(MODELS, asked=False), planned(MODELS)
    found = lambdas_plan(plan, apart, ["of_room"])
    assert (found.steps, asks(found).together, asks(found).version) == (apart.steps, None, asks(plan).version)
    assert lambdas_plan(plan, planned(MODELS), []) == plan
    with pytest.raises(ConfigError, match="of_room reads senders"):
        lambdas_plan(planned(CHANGED), apart, ["of_room"])
