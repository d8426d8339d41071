"""States that several sources feed: what is never NULL in one may be in another."""

from __future__ import annotations

import pytest

from realtime.clickhouse.client import ClickHouse
from tests.planner.small import Declared, Deployed, Row, in_duckdb, planned, project

COLUMNS = {"k": "varchar", "n": "integer", "seen": "timestamp"}
SOURCES = {"app.whole": Declared(COLUMNS, ("k", "n", "seen")), "app.partial": Declared(COLUMNS)}
BOTH = "(select * from {{ source('app', 'whole') }} union all select * from {{ source('app', 'partial') }}) u"
MODELS = {
    "totals": f"select k, count(*) as c, sum(n) as s, min(n) as m, avg(n) as a, max(seen) as t from {BOTH} group by k",
    "newest": f"select k, arg_max(n, seen) as n, list(n order by seen, n) as all_n from {BOTH} group by k",
    "by_day": f"select seen::date as d, count(distinct k) as ks, bool_or(n > 1) as b from {BOTH} group by 1",
    "rows": f"select distinct k, n from {BOTH}",
}
ROWS: dict[str, list[Row]] = {
    "app.whole": [{"k": "a", "n": 1, "seen": "2024-01-01 00:00:00"}, {"k": "", "n": -2, "seen": "2024-01-02 10:00:00"}],
    "app.partial": [
        {"k": None, "n": 3, "seen": "2024-01-01 00:00:01"}, {"k": "a", "n": None, "seen": None},
        {"k": None, "n": None, "seen": "2024-01-02 00:00:00"}, {"k": "a", "n": 5, "seen": "2023-12-31 23:59:59"},
    ],
}  # fmt: skip


# Tables of these names were made by the first view alone: they refuse every insert with a NULL key.
REFUSING = {"totals__3d5e58aa49", "newest__9bbbc49723", "by_day__abbf574210", "rows__3664157c2b"}


def test_tables_of_the_first_view_alone_are_not_used() -> None:
    names = [step.states[0].relation.split(".")[1] for step in planned(project(SOURCES, MODELS), "x").steps]
    assert len(names) == len(REFUSING)
    assert not set(names) & REFUSING


@pytest.mark.parametrize("swapped", [False, True])
def test_null_in_one_of_two_sources(clickhouse: ClickHouse, database: str, swapped: bool) -> None:
    names = {"app.whole": "app.partial", "app.partial": "app.whole"} if swapped else {}
    sources = {name: SOURCES[names.get(name, name)] for name in SOURCES}
    rows = {name: ROWS[names.get(name, name)] for name in ROWS}
    built = project(sources, MODELS)
    plan = planned(built, database)
    deployed = Deployed(plan, clickhouse)
    deployed.insert(rows, seed=1)
    expected = in_duckdb(built, rows)
    for step in plan.steps:
        assert len(step.states[0].views) == 2
        assert deployed.read(step) == expected[step.model], step.model
