"""What is refused, and how it is said: the model, the place, the construct, the reason, the remedy. All at once."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from realtime.errors import ConfigError, DuetError, RefusedError
from realtime.planner.planner import plan_project
from tests.planner.small import Declared, project
from tests.planner.sources import SOURCES

PARTS = re.split(r"^-- model: (\w+)\n", (Path(__file__).parent / "refused.sql").read_text(), flags=re.MULTILINE)[1:]
CASES = dict(zip(PARTS[0::2], PARTS[1::2], strict=True))
OPTIONS: dict[str, dict[str, Any] | None] = {
    "opted_out": None,
    "wrong_option": {"modes": "latest"},
    "wrong_mode": {"mode": "magic"},
    "refreshed_by_the_way": {"mode": "refresh", "refresh_every": "90"},
    "refreshed_and_expired": {"mode": "refresh", "ttl": "seen_at + INTERVAL 1 DAY"},
    "not_refreshed": {"refresh_every": "1 minute"},
    "refreshed_in_no_order": {"mode": "refresh", "order_by": ["id", "gone"]},
    "published": {"mode": "published"},
    "wrong_order": {"order_by": ["k", "n"]},
    "latest_asked_for": {"mode": "latest"},
}


def _sql(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("-- says: "))


def _refusals() -> dict[str, DuetError]:
    models = {name: _sql(text) for name, text in CASES.items()}
    models["opted_out"] = "select 1 as a"
    outcome = plan_project(project(SOURCES, models, options=OPTIONS), "x")
    assert not outcome.plan.steps
    return {Path(r.model).stem: r for r in outcome.refusals if isinstance(r, RefusedError)}


REFUSALS = _refusals()


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    error = REFUSALS[name]
    for wanted in re.findall(r"^-- says: (.*)$", CASES[name], flags=re.MULTILINE):
        assert wanted in str(error)
    assert error.remedy


def test_all_at_once() -> None:
    assert set(REFUSALS) == set(CASES)


WRONG_SOURCES = {
    "without types": (Declared({"id": "varchar", "n": "", "m": ""}), "columns without data_type: n, m"),
    "without columns": (Declared({}), "no columns declared"),
    "of an unknown type": (Declared({"id": "money"}), "money"),
    "with an unknown option": (Declared({"id": "varchar"}, options={"modus": "append"}), "unknown option modus"),
    "of an unknown mode": (Declared({"id": "varchar"}, options={"mode": "merge"}), "mode 'merge'"),
    "upsert without key": (Declared({"id": "varchar"}, options={"mode": "upsert"}), "without key and version"),
    "append with key": (Declared({"id": "varchar"}, options={"key": "id"}), "go with mode: upsert"),
    "by an unknown column": (Declared({"id": "varchar"}, options={"event_time": "at"}), "event_time names at"),
    "with the hidden column": (Declared({"_ingested_at": "timestamp"}), "hidden column"),
}


@pytest.mark.parametrize("which", WRONG_SOURCES)
def test_wrong_sources(which: str) -> None:
    declared, said = WRONG_SOURCES[which]
    built = project({"app.events": declared}, {"m": "select * from {{ source('app', 'events') }}"})
    source, model = plan_project(built, "x").refusals
    assert "app.events" in str(source)
    assert "models/sources.yml" in str(source)
    assert said in str(source)
    assert source.remedy
    assert "reads source app.events, which has errors" in str(model)


def test_two_sources_with_one_landing_table() -> None:
    sources = {"a.b__c": Declared({"id": "varchar"}), "a__b.c": Declared({"id": "varchar"})}
    models = {"m": "select * from {{ source('a', 'b__c') }} union all select * from {{ source('a__b', 'c') }}"}
    first, _ = plan_project(project(sources, models), "x").refusals
    assert "another source has the table x_raw.a__b__c" in str(first)


def test_another_warehouse() -> None:
    built = dataclasses.replace(project(SOURCES, {"m": "select 1 as a"}), adapter="redshift")
    with pytest.raises(ConfigError, match="written for redshift"):
        plan_project(built, "x")


def test_what_has_no_sql() -> None:
    built = project(SOURCES, {"m": "def model(dbt, session): ...", "over": "select * from {{ ref('m') }}"})
    models = {u: dataclasses.replace(m, kind="Python model") if m.name == "m" else m for u, m in built.models.items()}
    first, second = plan_project(dataclasses.replace(built, models=models), "x").refusals
    assert "models/m.sql: m: a Python model has no SQL to keep in real time" in str(first)
    assert "reads the Python model m, which ClickHouse does not have" in str(second)
