"""What two processes plan is what one plans, to the byte, whatever happens to the other one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from realtime.cache import Cache
from realtime.emit.project import generate
from realtime.planner import ahead
from realtime.planner.planner import Outcome, plan_project
from realtime.project.manifest import Project
from tests.planner.small import project
from tests.planner.sources import SOURCES
from tests.test_cache import MODELS, QUERIES

# Eleven times the same seven models, each over others of its own set.
TIMES = 11
REFUSED = {
    "two_rates": "select random() as r from {{ ref('both_1') }}",
    "above": "select r from {{ ref('two_rates') }}",
}


def many(refused: bool = False) -> Project:
    models = dict(REFUSED) if refused else {}
    for turn in range(1, TIMES + 1):
        for name, sql in MODELS.items():
            of_this_turn = re.sub(r"ref\('(\w+)'\)", rf"ref('\1_{turn}')", sql)
            models[f"{name}_{turn}"] = of_this_turn.replace("n > 0", f"n > {turn}")
    queries = {name: sql.replace("ranked", "ranked_1") for name, sql in QUERIES.items()}
    return project(SOURCES, models, queries=queries)


def planned_ahead(given: Project, file: Path) -> tuple[Outcome, Cache]:
    cache = Cache(file)
    ahead.plan_ahead(given, "db", cache)
    return plan_project(given, "db", cache), cache


def texts(outcome: Outcome) -> list[str]:
    return [str(refusal) for refusal in outcome.refusals]


@pytest.fixture(scope="module")
def alone() -> Outcome:
    return plan_project(many(), "db")


def test_two_processes_plan_what_one_plans(alone: Outcome, tmp_path: Path) -> None:
    given = many()
    assert len(given.models) >= ahead.WORTH
    both, cache = planned_ahead(given, tmp_path / "cache")
    assert both == alone
    assert generate(both.plan) == generate(alone.plan)
    cache.save()
    again = Cache(tmp_path / "cache")
    ahead.plan_ahead(given, "db", again)  # all is there: nothing is planned
    assert plan_project(given, "db", again) == alone


def test_refusals_are_those_of_one_process(tmp_path: Path) -> None:
    given = many(refused=True)
    both, _ = planned_ahead(given, tmp_path / "cache")
    assert texts(both) == texts(plan_project(given, "db"))
    assert len(both.refusals) == len(REFUSED)


def test_the_other_process_is_not_needed(alone: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_help", lambda *_: None)
    both, _ = planned_ahead(many(), tmp_path / "cache")
    assert both == alone
