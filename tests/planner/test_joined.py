"""Aggregates over a stream joined to dimensions: kept per join key, exact also when the dimension changes later."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.narrow import narrowed
from realtime.planner.planner import plan_project
from realtime.project import manifest
from tests.planner.small import Deployed, Row, in_duckdb, planned, project
from tests.planner.sources import COLUMNS, SOURCES, newest
from tests.planner.test_failures import MODELS

EVENTS, MORE, USERS = (f"{{{{ source('app', '{name}') }}}}" for name in ("events", "more", "users"))
DIMENSIONS = {
    "newest_more": f"select id, k, n from {MORE} qualify row_number() over (partition by k order by n desc, id) = 1",
    "per_g": f"select g, count(*) as rows_, max(k) as k from {MORE} group by g",
    "stg_more": f"select id as more_id, upper(k) as name, n from {MORE} where n is not null",
}
JOINED = {
    "by_user": f"select u.k, count(*) as v, sum(e.n) as s from {EVENTS} e join {USERS} u on e.k = u.id group by u.k",
    "left_user": f"select u.n, date_trunc('day', e.seen_at) as day_, count(*) as v, count(distinct e.id) as d "
    f"from {EVENTS} e left join {USERS} u on u.id = e.k group by 1, 2",
    "imported": f"with e as (select * from {EVENTS}), u as (select * from {USERS}) "
    "select u.k as user_k, e.g, avg(e.n) as v, max(e.seen_at) as m from e left join u on e.k = u.id "
    "where e.n > 0 and (u.n > 1 or e.g = 1) group by u.k, e.g having count(*) > 1",
    "one_row": f"select count(*) as v, sum(e.n) as s, max(e.k) as k from {EVENTS} e join {USERS} u on e.k = u.id",
    "tested": f"select m.k, min(e.n) as v from {EVENTS} e join {MORE} m on e.k = m.id and m.n > e.g group by m.k",
    "of_latest": f"select d.id, d.n + 1.5 as n, count(*) as v from {EVENTS} e join {{{{ ref('newest_more') }}}} d "
    "on d.k = e.k group by d.id, d.n",
    "of_aggregate": f"select d.rows_, sum(e.n) as v from {EVENTS} e left join {{{{ ref('per_g') }}}} d on d.g = e.g "
    "group by 1",
    "of_stream": f"select d.name, count(*) as v from {EVENTS} e left join {{{{ ref('stg_more') }}}} d "
    "on d.more_id = e.k group by d.name",
    "two": f"select coalesce(u.k, m.k, e.k) as c, list(e.n order by e.id) as v from {EVENTS} e "
    f"left join {USERS} u on u.id = e.k left join {MORE} m on m.id = e.k and e.n < m.n group by all",
    "failing": f"select u.k, sum(e.n * e.price) as v from {EVENTS} e join {USERS} u on u.id = e.k group by u.k",
    "both_streams": f"select u.k, count(*) as v from (select k, n from {EVENTS} union all select k, n from {MORE}) e "
    f"join {USERS} u on u.id = e.k group by u.k",
}
READ = {
    "untested": (
        f"select m.k, count(*) as v from {EVENTS} e join {MORE} m on e.k = m.k group by m.k",
        "by k, not known to be unique (test it with dbt's `unique`)",
    ),
    "of_dimension": (f"select e.k, sum(u.n) as v from {EVENTS} e join {USERS} u on u.id = e.k group by e.k", "joins"),
    "full": (f"select u.k, count(*) as v from {EVENTS} e full join {USERS} u on u.id = e.k group by u.k", "joins"),
}


def _unique(attached: str, column: str) -> manifest.Test:
    """A `unique` test, as dbt lists it."""
    metadata = {"name": "unique", "kwargs": {"column_name": column}, "namespace": None}
    return manifest.Test(
        f"test.t.{attached}", f"unique_{column}", "", (attached,), metadata, attached, column, {}, "", "m.yml"
    )


TESTS = (
    _unique("source.t.app.more", "id"),
    _unique("model.t.newest_more", "k"),
    _unique("model.t.per_g", "g"),
    _unique("model.t.stg_more", "more_id"),
)
_KEYS = [None, "", "a", "b", "ä"]


def _rows(chance: random.Random) -> dict[str, list[Row]]:
    """Events that refer to users and to more; keys are unique but for those of more in every third round."""

    def row(key: Any, number: int) -> Row:
        moment = datetime.datetime(2018, 5, 1) + datetime.timedelta(hours=7 * number)
        few = {"g": chance.choice([None, 1, 2]), "n": chance.choice([None, 1, 2, 5]), "price": "2.50"}
        return {**dict.fromkeys(COLUMNS), **few, "id": f"e{number}", "k": key, "seen_at": moment}

    users = [
        {
            "id": i,
            "version": v,
            "gone": chance.random() < 0.2,
            "k": chance.choice(_KEYS),
            "n": chance.choice([None, 1, 2]),
        }
        for v in range(3)
        for i in ("", "a", "b", "ü")
    ]
    ids = ["", "a", "b", *([chance.choice(["a", "b"])] if chance.random() < 0.3 else [])]
    more = [{**row(chance.choice(["x", "y"]), 100 + i), "id": key} for i, key in enumerate(ids)]
    events = [row(chance.choice(_KEYS), number) for number in range(chance.randint(0, 9))]
    return {"app.events": events, "app.more": more, "app.users": users}


def test_equal(clickhouse: ClickHouse, database: str) -> None:
    built = project(SOURCES, {**DIMENSIONS, **JOINED}, tests=TESTS)
    plan = planned(built, database)
    assert {s.model: s.why for s in plan.steps if s.model in JOINED and s.shape != "aggregate"} == {}
    deployed = Deployed(plan, clickhouse)
    for seed in range(6):
        rows = _rows(random.Random(seed))
        deployed.empty()
        deployed.insert(rows, seed)
        expected = in_duckdb(built, {**rows, "app.users": newest(rows["app.users"])})
        for step in plan.steps:
            assert deployed.read(step) == expected[step.model], f"{seed} {step}\n{step.select}"


def test_a_dimension_that_changes_later(clickhouse: ClickHouse, database: str) -> None:
    plan = planned(project(SOURCES, {"m": JOINED["by_user"]}), database)
    deployed = Deployed(plan, clickhouse)
    event: Row = {**dict.fromkeys(COLUMNS), "id": "1", "k": "a", "n": 3}
    deployed.insert({"app.events": [event]}, seed=1)
    view = plan.steps[0].relation
    assert clickhouse.rows(f"SELECT * FROM {view}") == []
    for version, name in enumerate(("old", "new")):
        user = {"id": "a", "version": version, "gone": False, "k": name, "n": 1}
        deployed.insert({"app.users": [user]}, seed=1)
        assert clickhouse.rows(f"SELECT * FROM {view}") == [{"k": name, "v": 1, "s": 3}]


@pytest.mark.parametrize("which", READ)
def test_what_is_joined_when_read(which: str) -> None:
    sql, reason = READ[which]
    (outcome,) = plan_project(project(SOURCES, {"m": sql}), "x").plan.steps
    assert (outcome.shape, outcome.states) == ("read", ())
    assert reason in outcome.why


def test_a_cut_over_can_be_added_to_every_view() -> None:
    moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    for built in (project(SOURCES, {**DIMENSIONS, **JOINED}, tests=TESTS), project(SOURCES, MODELS)):
        views = [view for step in planned(built, "x").steps for state in step.states for view in state.views]
        assert all("fromUnixTimestamp64Micro" in narrowed(view, since=moment) for view in views)
