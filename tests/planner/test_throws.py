"""Nothing in a materialized view fails on a row that landed; what could is computed when read, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.errors import CommandError
from tests.planner.small import Deployed, Row, in_duckdb, planned, project
from tests.planner.sources import COLUMNS, EXTREMES, SOURCES

INSERTABLE = Path(__file__).parent / "insertable.sql"
SOURCE = "from {{ source('app', 'events') }}"


def extremes() -> list[Row]:
    """A row for each extreme value of each column; the other columns take turns."""
    longest = max(map(len, EXTREMES.values()))
    rows: list[Row] = [
        {"id": f"e{i}", **{name: values[i % len(values)] for name, values in EXTREMES.items()}} for i in range(longest)
    ]
    return [*rows, {"id": "nulls", **dict.fromkeys(EXTREMES)}]


def test_views_take_every_row(clickhouse: ClickHouse, database: str) -> None:
    lines = [line for line in INSERTABLE.read_text().splitlines() if line and not line.startswith("--")]
    models = {f"m{i:03}": f"select {e} as v, count(*) as n {SOURCE} group by all" for i, e in enumerate(lines)}
    built = project(SOURCES, models)
    plan = planned(built, database)
    assert {s.model: s.shape for s in plan.steps if s.shape != "aggregate"} == {}
    deployed = Deployed(plan, clickhouse)
    rows = {"app.events": extremes()}
    deployed.insert(rows, seed=1)
    expected = in_duckdb(built, rows)
    wrong = [lines[int(s.model[1:])] for s in plan.steps if deployed.read(s) != expected[s.model]]
    assert wrong == []


FAILING = {
    "n + 1": "arithmetic or a cast that may overflow",
    "cast(big as integer)": "arithmetic or a cast that may overflow",
    "cast(k as integer)": "arithmetic or a cast that may overflow",
    "cast(k as uuid)": "a cast of text to UUID",
    "n * price": "a cast that may fail, or arithmetic that may overflow",
    "n * n": "arithmetic or a cast that may overflow",
    "n // g": "arithmetic or a cast that may overflow",
    "big % nullif(n, 1)": "a division by what may be zero",
    "big % n": "a division by what may be zero",
    "cast(k as timestamp)": "a cast that may fail, or arithmetic that may overflow",
    "repeat(k, n)": "repeat, which has a limit",
    "lpad(k, n, '.')": "padding to a length that may be too large",
}


@pytest.mark.parametrize("expression", FAILING)
def test_what_may_fail_is_computed_when_read(expression: str) -> None:
    models = {
        "grouped": f"select {expression} as v, count(*) as n {SOURCE} group by all",
        "newest": f"select id, {expression} as v {SOURCE} qualify row_number() over (partition by g order by id) = 1",
    }
    for step in planned(project(SOURCES, models), "x").steps:
        assert step.shape == "read"
        assert step.states == ()
        assert step.why.startswith(f"computed when read: {FAILING[expression]} must not happen on insert")


def test_reading_fails_where_batch_fails_and_no_row_is_lost(clickhouse: ClickHouse, database: str) -> None:
    models = {
        "total": f"select sum(cast(k as integer)) as total {SOURCE}",
        "rows_": f"select count(*) as n {SOURCE}",
    }
    plan = planned(project(SOURCES, models), database)
    deployed = Deployed(plan, clickhouse)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    deployed.insert({"app.events": [{**row, "id": "1", "k": "12"}]}, seed=1)
    total, count = (s.relation for s in plan.steps if s.model in ("total", "rows_"))
    if "rows_" in total:
        total, count = count, total
    assert clickhouse.value(f"SELECT total FROM {total}") == 12
    deployed.insert({"app.events": [{**row, "id": "2", "k": "twelve"}]}, seed=1)
    assert clickhouse.value(f"SELECT n FROM {count}") == 2
    with pytest.raises(CommandError):
        clickhouse.value(f"SELECT total FROM {total}")


def test_a_column_that_may_fail_harms_only_its_readers() -> None:
    models = {
        "staged": f"select id, k, repeat(k, n) as long {SOURCE}",
        "counted": "select id, count(*) as n from {{ ref('staged') }} group by id",
        "longest": "select id, max(long) as longest from {{ ref('staged') }} group by id",
    }
    shapes = {s.model: str(s.shape) for s in planned(project(SOURCES, models), "x").steps}
    assert shapes == {"staged": "stream", "counted": "aggregate", "longest": "read"}


def test_try_cast_and_wider_types_keep_it_on_insert() -> None:
    models = {
        "tried": f"select sum(try_cast(k as integer)) as total {SOURCE}",
        "wider": f"select sum(price) + 1 as total {SOURCE}",
    }
    assert {str(s.shape) for s in planned(project(SOURCES, models), "x").steps} == {"aggregate"}
