"""Names that can't be those of ClickHouse tables and lake folders are refused before anything is made."""

from __future__ import annotations

import pytest

from realtime.planner.planner import plan_project
from tests.planner.small import Declared, project

SQL = "select id from {{ source('app', 'events') }}"


@pytest.mark.parametrize("name", ["daily-sales", "événements", "a.b", "2024"])
def test_model(name: str) -> None:
    built = project({"app.events": Declared({"id": "bigint"})}, {name: SQL})
    [refusal] = plan_project(built, "shop").refusals
    assert "its name can't be that of a state table" in str(refusal)


def test_source() -> None:
    built = project({"app.a/b": Declared({"id": "bigint"})}, {"m": SQL.replace("events", "a/b")})
    assert "can't be that of a folder in the lake" in str(plan_project(built, "shop").refusals[0])


def test_source_with_other_letters() -> None:
    built = project({"app.événements": Declared({"id": "bigint"})}, {"m": SQL.replace("events", "événements")})
    assert plan_project(built, "shop").plan.sources[0].landing == "shop_raw.app___v_nements"
