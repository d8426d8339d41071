"""What `duet explain` shows of a model and of a lambda."""

from __future__ import annotations

import pytest

from realtime.errors import NotFoundError
from realtime.explain import Explained, explain
from tests.planner import test_approximate
from tests.planner.small import planned, project
from tests.planner.sources import SOURCES
from tests.planner.test_lambdas import written

MODELS = {
    "stg": "select id, k, n from {{ source('app', 'events') }} where n between 1 and 9",
    "per_user": "select u.k, sum(s.n + 1) as total from {{ ref('stg') }} s "
    "join {{ source('app', 'users') }} u on u.id = s.k group by all",
    "ranked": "select k, rank() over (order by total) as place from {{ ref('per_user') }}",
}


def _explained(model: str) -> Explained:
    built = project(SOURCES, MODELS)
    found = explain(built, planned(built, "x"), model)
    assert isinstance(found, Explained)
    return found


def test_every_pass_that_changed_the_model_in_order() -> None:
    found = _explained("per_user")
    stages = {stage.name: stage.sql for stage in found.stages}
    assert list(stages) == [
        "parse", "inline_streams", "qualify_names", "expand_group_all", "expand_between", "lower", "split",
        "carry_failures",
    ]  # fmt: skip
    assert "BETWEEN" in stages["inline_streams"]
    assert "BETWEEN" not in stages["expand_between"]
    assert "sumState" in stages["split"]
    assert "accurateCastOrNull" in stages["carry_failures"]


def test_shape_tables_and_views() -> None:
    text = str(_explained("per_user"))
    for part in (
        "per_user: aggregate over x_state.per_user__",
        "-- reads: app.users, stg",
        "-- authored: models/per_user.sql\nselect u.k",
        "-- landing table of app.users\nCREATE TABLE IF NOT EXISTS x_raw.app__users (",
        "-- landing table of app.events\nCREATE TABLE",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS x_state.per_user__",
        "-- read view x.per_user\nSELECT",
    ):
        assert part in text


def test_what_would_keep_it_on_insert() -> None:
    text = str(_explained("ranked"))
    assert "ranked: read (computed when read: window functions)" in text
    assert "-- to keep it on insert: keep the newest row per key with row_number() … = 1, or leave" in text
    assert "to keep it on insert" not in str(_explained("per_user"))


def test_a_model_that_is_refreshed() -> None:
    built = project(SOURCES, MODELS, options={"ranked": {"mode": "refresh", "refresh_every": "1 hour"}})
    text = str(explain(built, planned(built, "x"), "ranked"))
    assert "ranked: refresh (refreshed every 1 hour)" in text
    assert "-- refreshed every 1 hour: x_state.ranked__refreshed_" in text
    assert "\nREFRESH EVERY 1 HOUR TO x_state.ranked__refreshed_" in text
    assert "-- after split" not in text


def test_another_name() -> None:
    with pytest.raises(NotFoundError, match="no model or lambda 'nothing' is kept"):
        _explained("nothing")


TOTAL = """select total from {{ ref('per_user') }} where k = {{ param('k', 'varchar', description='Whose.') }}
and total >= {{ param('least', 'integer', default=1, min=0) }}"""
NAMES = "select u.k from {{ source('app', 'users') }} u join {{ source('app', 'events') }} e on e.k = u.id"


def _lambda(sql: str) -> str:
    built = project(SOURCES, MODELS, queries={"asked": written(sql)})
    return str(explain(built, planned(built, "x"), "asked"))


def test_a_lambda() -> None:
    text = _lambda(TOTAL)
    for part in (
        "asked: lambda, version ",
        "-- parameters\nk varchar: Whose.\nleast integer, default 1, at least 0\n",
        "-- reads\nper_user: aggregate over x_state.per_user__",
        "-- one call\nSELECT",
        "-- many calls that differ in k, in one query\nSELECT",
        "k IN {k: Array(String)}",
    ):
        assert part in text


def test_a_lambda_past_its_view() -> None:
    models = {"of_k": "select k, sum(n) as total from {{ source('app', 'events') }} group by k"}
    queries = {"asked": written("select total from {{ ref('of_k') }} where k = {{ param('k', 'varchar') }}")}
    built = project(SOURCES, models, queries=queries)
    plan = planned(built, "x")
    text, state = str(explain(built, plan, "asked")), plan.steps[0].states[0].relation
    assert f"-- direct: {state} in place of read views\n" in text
    assert text.count(f"FROM {state} AS _state") == 2
    assert "x.of_k" not in text


def test_a_lambda_that_is_asked_one_by_one() -> None:
    text = _lambda(NAMES)
    assert "-- no parameters" in text
    assert "-- reads\napp.events: source\napp.users: source" in text
    assert "-- calls are asked one by one: no parameter is required" in text


def test_a_lambda_that_asks_an_index() -> None:
    built = test_approximate.of(test_approximate.QUERIES, test_approximate.SOURCES, approximate=True)
    text = str(explain(built, planned(built, "x"), "items_nearest"))
    assert "-- calls: It is approximate: an index finds the nearest rows, and may miss some.\n" in text
    assert "-- asked first, approximate: the vector index ix_vector_v_" in text
    assert "LIMIT 10 * 4 + 100" in text
