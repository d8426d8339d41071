"""A part of the project over what is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.selection import select_plan, selected_plan
from realtime.errors import ConfigError
from realtime.planner.ir import Plan
from realtime.planner.planner import plan_project
from realtime.project.manifest import Source
from tests.deploy.conftest import COLUMNS, MODELS, PER_SENDER, RENAMED, generic_test, project, source
from tests.landing import project as folder

LARGEST = {**MODELS, "per_room": MODELS["per_room"].replace("count(*)", "max(size) as largest, count(*)")}
BOTH = {**MODELS, "per_sender": PER_SENDER}


def planned(models: dict[str, str], of: Source | None = None) -> Plan:
    tests = [generic_test("not_null", name, models[name].split()[1].strip(",")) for name in models if name != "busiest"]
    outcome = plan_project(project(models, tests, of=of), "shop")
    assert not outcome.refusals
    return outcome.plan


def names(*given: str) -> frozenset[str]:
    return frozenset(given)


def test_what_is_selected_is_new_and_the_rest_as_it_was() -> None:
    live, plan = planned(MODELS), planned({**LARGEST, "per_sender": PER_SENDER})
    found = selected_plan(plan, live, names("per_sender"))
    assert [s.model for s in found.steps] == ["per_room", "busiest", "per_sender"]
    assert found.steps[:2] == live.steps
    assert [str(t) for t in found.carried] == ["not_null on per_room.room", "not_null on per_sender.sender"]


def test_what_it_is_made_of_comes_along() -> None:
    live, plan = planned(MODELS), planned(RENAMED)
    found = selected_plan(plan, live, names("busiest"))
    assert found == plan


def test_a_reader_that_stays_must_find_its_columns() -> None:
    live = planned(MODELS)
    assert selected_plan(planned(LARGEST), live, names("per_room")).steps[1] == live.steps[1]
    with pytest.raises(ConfigError, match="per_room would change in columns that busiest reads") as caught:
        selected_plan(planned(RENAMED), live, names("per_room"))
    assert caught.value.remedy.endswith("--select per_room+")


def test_a_source_that_changed_needs_all_that_reads_it() -> None:
    wider = source({**COLUMNS, "size": "bigint"})
    with pytest.raises(ConfigError, match=r"chat\.messages would change in columns that per_sender reads"):
        selected_plan(planned(BOTH, wider), planned(BOTH), names("per_room", "busiest"))
    added = source({**COLUMNS, "country": "varchar"})
    found = selected_plan(planned(BOTH, added), planned(BOTH), names("per_room"))
    assert [c.name for c in found.sources[0].columns] == [*COLUMNS, "country"]


def test_what_is_gone_from_the_project_stays() -> None:
    found = selected_plan(planned(MODELS), planned(BOTH), names("per_room"))
    assert [s.model for s in found.steps] == ["per_room", "busiest", "per_sender"]


def test_all_of_it_is_the_project_itself() -> None:
    plan = planned(BOTH)
    empty = plan_project(project({}), "shop").plan
    assert selected_plan(plan, empty, names(*BOTH)) == plan


def test_dbt_reads_the_selection(clickhouse: ClickHouse, database: str, tmp_path: Path) -> None:
    settings = folder(tmp_path)
    for name in BOTH:
        (tmp_path / "models" / f"{name}.sql").write_text("select 1 as id")
    (tmp_path / "models" / "per_sender.sql").write_text("{{ config(tags=['nightly']) }} select 1 as id")
    plan = plan_project(project(BOTH), database).plan
    found = select_plan(settings, clickhouse, plan, ["tag:nightly", "config.materialized:table"])
    assert [s.model for s in found.steps] == ["per_sender"]
    with pytest.raises(ConfigError, match="--select tag:weekly names nothing that is kept"):
        select_plan(settings, clickhouse, plan, ["tag:weekly"])
