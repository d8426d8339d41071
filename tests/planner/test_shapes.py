"""Every shape, compiled and run: real landing tables, states and views, rows in any order and batching."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import Plan
from realtime.project.manifest import Project
from tests.planner.small import Deployed, Row, Rows, in_duckdb, planned, project
from tests.planner.sources import SOURCES, events, newest, tagged, versions

HEALTH = list(HealthCheck)
CASES = Path(__file__).parent / "cases"


@dataclasses.dataclass(frozen=True)
class Case:
    """Models of one file: name → SQL, and the shape that each must get."""

    models: dict[str, str]
    shapes: dict[str, str]


def read_case(path: Path) -> Case:
    """Parts that begin with ``-- model: name (shape)``."""
    parts = re.split(r"^-- model: (\w+) \((\w+)\)\n", path.read_text(), flags=re.MULTILINE)[1:]
    names, shapes, texts = parts[0::3], parts[1::3], parts[2::3]
    return Case(dict(zip(names, texts, strict=True)), dict(zip(names, shapes, strict=True)))


@pytest.mark.parametrize("path", sorted(CASES.glob("*.sql")), ids=lambda p: p.stem)
def test_equal(path: Path, clickhouse: ClickHouse, database: str) -> None:
    case = read_case(path)
    built = project(SOURCES, case.models)
    plan = planned(built, database)
    assert {s.model: str(s.shape) for s in plan.steps} == case.shapes
    deployed = Deployed(plan, clickhouse)

    # A failing example is small as it is; making it smaller would take minutes of inserts.
    @settings(max_examples=8, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=HEALTH)
    @given(events("e"), events("m", known=("k",)), versions(), tagged(), st.integers(0, 1000))
    def check(first: list[Row], second: list[Row], users: list[Row], lists: list[Row], seed: int) -> None:
        rows = {"app.events": first, "app.more": second, "app.users": users, "app.tagged": lists}
        _compare(built, plan, deployed, rows, seed)

    check()


def _compare(built: Project, plan: Plan, deployed: Deployed, rows: Rows, seed: int) -> None:
    deployed.empty()
    deployed.insert(rows, seed)
    expected = in_duckdb(built, {**rows, "app.users": newest(list(rows["app.users"]))})
    for step in plan.steps:
        assert deployed.read(step) == expected[step.model], f"{step}\n{step.select}"
