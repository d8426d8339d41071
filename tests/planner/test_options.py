"""What an author may say of a model or source in ``meta.realtime``, and what fingerprints depend on."""

from __future__ import annotations

import dataclasses
from typing import Any

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import Plan
from tests.planner.small import Declared, Deployed, in_duckdb, planned, project
from tests.planner.sources import COLUMNS, SOURCES
from tests.planner.test_throws import extremes

GROUPED = "select k, g, seen_at::date as seen_on, count(*) as n from {{ source('app', 'events') }} group by all"
NEWEST = "select k, id from {{ source('app', 'events') }} qualify row_number() over (partition by k, g order by id) = 1"


def _plan(models: dict[str, str], options: dict[str, dict[str, Any]] | None = None, database: str = "x") -> Plan:
    return planned(project(SOURCES, models, options=options), database)


def test_physical_hints(clickhouse: ClickHouse, database: str) -> None:
    hints: dict[str, dict[str, Any]] = {
        "grouped": {"order_by": ["g", "k"], "partition_by": "toYear(assumeNotNull(seen_on))", "index_granularity": 256},
        "newest": {"order_by": "key_2"},
    }
    built = project(SOURCES, {"grouped": GROUPED, "newest": NEWEST}, options=hints)
    plan = planned(built, database)
    deployed = Deployed(plan, clickhouse)
    rows = {"app.events": extremes()}
    deployed.insert(rows, seed=1)
    expected = in_duckdb(built, rows)
    for step in plan.steps:
        assert deployed.read(step) == expected[step.model]
    state = plan.steps[0].states[0]
    table = clickhouse.rows(f"SELECT * FROM system.tables WHERE concat(database, '.', name) = '{state.relation}'")[0]
    assert table["sorting_key"] == "g, k, seen_on"
    assert table["partition_key"] == "toYear(assumeNotNull(seen_on))"
    assert "index_granularity = 256" in table["create_table_query"]


def test_a_model_that_is_only_read(clickhouse: ClickHouse, database: str) -> None:
    models = {
        "grouped": GROUPED,
        "staged": "select id, k from {{ source('app', 'events') }}",
        "over": "select k, count(*) as n from {{ ref('staged') }} group by k",
    }
    built = project(SOURCES, models, options={"grouped": {"mode": "read"}, "staged": {"mode": "read"}})
    plan = planned(built, database)
    assert {s.model: (str(s.shape), s.states) for s in plan.steps} == dict.fromkeys(models, ("read", ()))
    deployed = Deployed(plan, clickhouse)
    rows = {"app.events": extremes()}
    deployed.insert(rows, seed=1)
    assert {s.model: deployed.read(s) for s in plan.steps} == in_duckdb(built, rows)


def test_a_mode_that_it_has_anyway() -> None:
    (step,) = _plan({"grouped": GROUPED}, {"grouped": {"mode": "aggregate"}}).steps
    assert step.shape == "aggregate"


def test_keys_identify_rows() -> None:
    events = "from {{ source('app', 'events') }}"
    models = {
        "grouped": f"select g as a, k as b, count(*) as n {events} group by k, g",
        "swapped": f"select a as b, b as a, n from (select k as a, g as b, count(*) as n {events} group by k, g) as t",
        "hidden": f"select k, count(*) as n {events} group by k, g",
        "newest": f"select k, g, id {events} qualify row_number() over (partition by g, k order by id) = 1",
        "total": f"select count(*) as n {events}",
        "read_": "select n, count(*) as m from {{ ref('grouped') }} group by n",
    }
    keys = {s.model: s.keys for s in _plan(models).steps}
    assert keys == {
        "grouped": ("b", "a"),
        "swapped": ("b", "a"),
        "hidden": (),
        "newest": ("g", "k"),
        "total": (),
        "read_": (),
    }


def _fingerprints(models: dict[str, str], sources: dict[str, Declared] = SOURCES) -> dict[str, str]:
    plan = planned(project(sources, models), "x")
    return {s.model: state.fingerprint for s in plan.steps for state in s.states}


STAGED = {
    "staged": "select id, k, n, flag from {{ source('app', 'events') }}",
    "per_k": "select k, sum(n) as total from {{ ref('staged') }} group by k",
    "flags": "select flag, count(*) as n from {{ ref('staged') }} group by flag",
}


def test_a_fingerprint_changes_with_what_the_state_holds() -> None:
    before = _fingerprints(STAGED)
    assert before == _fingerprints(STAGED)
    staged = {**STAGED, "staged": "select id, k, n + 0.0 as n, flag from {{ source('app', 'events') }}"}
    assert {m for m, f in _fingerprints(staged).items() if f != before[m]} == {"per_k"}


def test_a_column_more_changes_no_state() -> None:
    staged = {**STAGED, "staged": "select id, k, n, flag, day from {{ source('app', 'events') }}"}
    events = dataclasses.replace(SOURCES["app.events"], columns={**COLUMNS, "more": "varchar"})
    assert _fingerprints(staged, {**SOURCES, "app.events": events}) == _fingerprints(STAGED)


def test_another_type_or_null_changes_the_states_that_use_it() -> None:
    before = _fingerprints(STAGED)
    wider = dataclasses.replace(SOURCES["app.events"], columns={**COLUMNS, "n": "bigint"})
    strict = dataclasses.replace(SOURCES["app.events"], not_null=("flag",))
    for events, changed in ((wider, {"per_k"}), (strict, {"flags"})):
        after = _fingerprints(STAGED, {**SOURCES, "app.events": events})
        assert {m for m, f in after.items() if f != before[m]} == changed


def test_odd_names_of_sources(clickhouse: ClickHouse, database: str) -> None:
    sources = {"app.my-events": Declared({"id": "varchar", "a b": "integer"})}
    models = {"m": """select id, sum("a b") as "a b" from {{ source('app', 'my-events') }} group by id"""}
    built = project(sources, models)
    plan = planned(built, database)
    assert plan.sources[0].landing == f"{database}_raw.app__my_events"
    deployed = Deployed(plan, clickhouse)
    rows = {"app.my-events": [{"id": "1", "a b": 2}, {"id": "1", "a b": 3}]}
    deployed.insert(rows, seed=1)
    assert deployed.read(plan.steps[0]) == in_duckdb(built, rows)["m"]
