"""Models that refreshable views keep: every case of the other shapes, refreshed, gives the same rows."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.errors import CommandError
from realtime.planner.ir import Plan
from tests.planner.small import Deployed, Row, in_duckdb, planned, project
from tests.planner.sources import SOURCES, events, newest, tagged, versions
from tests.planner.test_shapes import CASES, HEALTH, read_case
from tests.planner.test_throws import extremes

EVENTS = "{{ source('app', 'events') }}"


@pytest.mark.parametrize("name", sorted(p.stem for p in CASES.glob("*.sql")))
def test_equal(name: str, clickhouse: ClickHouse, database: str) -> None:
    models = read_case(CASES / f"{name}.sql").models
    # Every second one: so some read what is refreshed, and some are refreshed over what is read.
    refreshed = list(models)[::2]
    options = {m: {"mode": "refresh", "refresh_every": "1 week"} for m in refreshed}
    built = project(SOURCES, models, options=options)
    plan = planned(built, database)
    assert {s.model for s in plan.steps if s.shape == "refresh"} == set(refreshed)
    deployed = Deployed(plan, clickhouse)

    @settings(max_examples=2, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=HEALTH)
    @given(events("e"), events("m", known=("k",)), versions(), tagged(), st.integers(0, 1000))
    def check(first: list[Row], second: list[Row], users: list[Row], lists: list[Row], seed: int) -> None:
        # No two rows have one id: by it, models tell which of two is newer.
        more = [{**row, "id": f"x{row['id']}"} for row in extremes()]
        rows = {"app.events": first + more, "app.more": second, "app.users": users, "app.tagged": lists}
        deployed.empty()
        deployed.insert(rows, seed)
        deployed.refresh()
        expected = in_duckdb(built, {**rows, "app.users": newest(list(users))})
        for step in plan.steps:
            assert deployed.read(step) == expected[step.model], f"{step}\n{step.select}"

    check()


def test_the_answer_before_stays_where_a_refresh_fails(clickhouse: ClickHouse, database: str) -> None:
    models = {"sizes": f"select id, cast(k as integer) as size from {EVENTS}"}
    plan = planned(project(SOURCES, models, options={"sizes": {"mode": "refresh"}}), database)
    deployed = Deployed(plan, clickhouse)
    (step,) = plan.steps
    deployed.insert({"app.events": [{"id": "a", "k": "1"}]}, seed=1)
    deployed.refresh()
    deployed.insert({"app.events": [{"id": "b", "k": "many"}]}, seed=1)
    before = deployed.read(step)
    assert sum(before.values()) == 1
    with pytest.raises(CommandError, match="model sizes can't be refreshed: text can't be cast"):
        deployed.refresh()
    assert deployed.read(step) == before


def test_minima_before_1970_stay_right_from_refresh_to_refresh(clickhouse: ClickHouse, database: str) -> None:
    # A query without our settings is compiled when it runs the fourth time, and answers wrongly from then on.
    models = {"first": f"select g, min(seen_at) as first_seen, max(day) as last_day from {EVENTS} group by g"}
    built = project(SOURCES, models, options={"first": {"mode": "refresh"}})
    deployed = Deployed(planned(built, database), clickhouse)
    rows = {"app.events": extremes()}
    deployed.insert(rows, seed=1)
    for _ in range(6):
        deployed.refresh()
        assert deployed.read(deployed.plan.steps[0]) == in_duckdb(built, rows)["first"]


def _plan(options: dict[str, object], *, edge: str = "g") -> Plan:
    models = {
        "grouped": f"select k, {edge}, count(*) as n from {EVENTS} group by all",
        "ranked": "select k, n, rank() over (order by n) as place from {{ ref('grouped') }}",
    }
    return planned(project(SOURCES, models, options={"ranked": {"mode": "refresh", **options}}), "x")


def test_options() -> None:
    hints = {"refresh_every": "30 seconds", "order_by": ["place", "k"], "index_granularity": 256}
    refresh = _plan(hints).steps[1].refresh
    assert refresh is not None
    assert (refresh.every, refresh.order_by, refresh.index_granularity) == ("30 SECOND", ("place", "k"), 256)
    assert _plan({}).steps[1].why == "refreshed every 1 minute"


def test_a_version_follows_what_its_rows_are_made_of() -> None:
    found = [_plan({}, edge=edge).steps[1].refresh for edge in ("g", "n as g", "g")]
    tables = [r.relation for r in found if r is not None]
    assert tables[0] == tables[2] != tables[1]
    slower = _plan({"refresh_every": "1 hour"}).steps[1].refresh
    assert slower is not None
    assert slower.relation not in tables
