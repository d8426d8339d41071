"""States in the order in which lambdas look them up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.emit.ddl import create_state
from realtime.emit.landing import create_landing
from realtime.planner.access import accesses
from realtime.planner.design import designed
from realtime.planner.ir import LambdaSpec, Plan, State
from realtime.planner.planner import plan_project
from tests.deploy.conftest import project, source

COLUMNS = {"id": "bigint", "room": "varchar", "sender": "varchar", "seen": "timestamp"}
PER_MINUTE = """
select date_trunc('minute', seen) as minute, sender, room, count(*) as n
from memory.chat.messages group by date_trunc('minute', seen), sender, room"""
MOMENT = "{since: Nullable(DateTime64(6, 'UTC'))}"
OF_ROOM = (
    f"SELECT n FROM shop.per_minute AS p WHERE p.room = {{room: String}} AND (p.minute > addMinutes({MOMENT}, -9))"
)
OF_SENDER = "SELECT n FROM shop.per_minute AS p WHERE p.sender = {sender: String}"
JOINED = """
WITH x AS (SELECT p.n AS n FROM shop.per_minute AS p JOIN shop.per_minute AS q ON p.n = q.n
  WHERE {sender: String} = q.sender AND p.room = q.room AND (p.room = {a: String} OR q.room = {b: String}))
SELECT n FROM x WHERE x.n = {n: Int64}"""


def calling(*selects: str) -> tuple[LambdaSpec, ...]:
    return tuple(
        LambdaSpec(name=f"l{i}", version="v", select=text, batch="", params=(), columns=(), depends_on=("per_minute",))
        for i, text in enumerate(selects)
    )


def state(*selects: str, **hints: Any) -> tuple[Plan, State]:
    plan = plan_project(project({"per_minute": PER_MINUTE}, of=source(COLUMNS)), "shop").plan
    called = msgspec.structs.replace(plan, lambdas=calling(*selects))
    made = designed(called, {"model.shop.per_minute": hints})
    (step,) = made.steps
    (found,) = step.states
    assert f"'{found.relation.split('.')[1]}'" in step.select
    assert [view.name for view in found.views] == [f"{found.relation}__mv"]
    return plan, found


def test_equalities_come_first_then_ranges() -> None:
    plan, found = state(OF_ROOM)
    (before,) = plan.steps[0].states
    assert (before.order_by, found.order_by) == (("minute", "sender", "room"), ("room", "minute", "sender"))
    assert (found.index_granularity, found.compact) == (256, True)
    assert found.why == "for lambdas l0: room =, then minute as a range"
    assert found.relation != before.relation
    assert found.views[0].select == before.views[0].select


def test_what_most_lambdas_compare_comes_first() -> None:
    _, found = state(OF_ROOM, OF_SENDER, OF_SENDER.replace("String", "UUID"))
    assert found.order_by == ("sender", "room", "minute")


@pytest.mark.parametrize(
    "select", ["SELECT n FROM shop.per_minute AS p", "SELECT p.n FROM shop.other AS p WHERE p.n = {n: Int64}"]
)
def test_without_a_lookup_nothing_changes(select: str) -> None:
    plan, found = state(select)
    assert found == plan.steps[0].states[0]


def test_the_author_has_the_last_word() -> None:
    _, found = state(OF_SENDER, order_by=["minute"], index_granularity=8192)
    assert (found.order_by, found.index_granularity) == (("minute", "sender", "room"), 8192)


def test_only_conditions_that_every_row_meets_count() -> None:
    found = accesses(calling(JOINED), {})
    assert (dict(found["per_minute"].equal), dict(found["per_minute"].ranged)) == ({"sender": 1}, {})


def test_clickhouse_makes_it(clickhouse: ClickHouse, database: str) -> None:
    plan, found = state(OF_ROOM)
    for name in ("", "_raw", "_state"):
        clickhouse.execute(f"CREATE DATABASE {database}{name}")
    for statement in (create_landing(plan.sources[0]), create_state(found)):
        clickhouse.execute(statement.replace("shop_", f"{database}_"))
    (row,) = clickhouse.rows(f"SELECT sorting_key, engine_full FROM system.tables WHERE database = '{database}_state'")
    assert row["sorting_key"] == "room, minute, sender"
    assert "index_granularity = 256" in row["engine_full"]
    assert "min_bytes_for_wide_part = 1073741824" in row["engine_full"]
