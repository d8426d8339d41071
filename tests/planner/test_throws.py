"""Nothing in a materialized view fails on a row that landed; what could is computed when read, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.errors import CommandError
from realtime.planner.throws import AGGREGATES, HARMLESS
from realtime.project.manifest import Project
from tests.planner.small import Declared, Deployed, Row, in_duckdb, planned, project
from tests.planner.sources import COLUMNS, EXTREMES, SOURCES
from tests.planner.test_failures import MODELS
from tests.planner.test_shapes import CASES, read_case
from tests.transpile import test_states

HERE = Path(__file__).parent
SOURCE = "from {{ source('app', 'events') }}"


def extremes() -> list[Row]:
    """A row for each extreme value of each column; the other columns take turns."""
    longest = max(map(len, EXTREMES.values()))
    rows: list[Row] = [
        {"id": f"e{i}", **{name: values[i % len(values)] for name, values in EXTREMES.items()}} for i in range(longest)
    ]
    return [*rows, {"id": "nulls", **dict.fromkeys(EXTREMES)}]


DOCUMENTS = {
    "app.documents": Declared(
        {"id": "varchar", "doc": "json", "tags": "varchar[]", "who": "struct(a integer, b varchar)"}, not_null=("tags",)
    ),
}


def documents() -> list[Row]:
    """Rows with documents and lists of every kind, empty ones among them."""
    docs = ['{"a": 1}', "[]", "null", '"x"', None, '{"a": {"b": [1, null]}}', '{"a": [true, "ä"]}', '{"a": null}', "{}"]
    lists: list[list[str | None]] = [[], ["a"], ["b", None, "a"], [""], ["ä", "b"]]
    structs: list[dict[str, Any]] = [{"a": 1, "b": "x"}, {"a": None, "b": ""}, {"a": -(2**31), "b": None}]
    return [
        {"id": str(i), "doc": doc, "tags": lists[i % len(lists)], "who": structs[i % len(structs)]}
        for i, doc in enumerate(docs)
    ]


SETS: dict[str, tuple[str, Mapping[str, Declared], Sequence[Row]]] = {
    "insertable.sql": ("app.events", SOURCES, extremes()),
    "insertable_documents.sql": ("app.documents", DOCUMENTS, documents()),
}


def insertable(file: str) -> tuple[list[str], Project]:
    """The expressions of ``file`` and a project with a model for each."""
    source, declared, _ = SETS[file]
    group, name = source.split(".")
    lines = [line for line in (HERE / file).read_text().splitlines() if line and not line.startswith("--")]
    origin = f"from {{{{ source('{group}', '{name}') }}}}"
    models = {f"m{i:03}": f"select {e} as v, count(*) as n {origin} group by all" for i, e in enumerate(lines)}
    return lines, project(declared, models)


@pytest.mark.parametrize("file", SETS)
def test_views_take_every_row(file: str, clickhouse: ClickHouse, database: str) -> None:
    lines, built = insertable(file)
    source, _, rows = SETS[file]
    plan = planned(built, database)
    assert {lines[int(s.model[1:])]: s.why for s in plan.steps if s.shape != "aggregate"} == {}
    deployed = Deployed(plan, clickhouse)
    deployed.insert({source: rows}, seed=1)
    expected = in_duckdb(built, {source: rows})
    wrong = [lines[int(s.model[1:])] for s in plan.steps if deployed.read(s) != expected[s.model]]
    assert wrong == []


def test_what_counts_as_harmless_is_in_a_view_that_took_every_row() -> None:
    built = [insertable(file)[1] for file in SETS]
    built.append(project(SOURCES, MODELS))
    built.append(project({"app.events": Declared(test_states.COLUMNS)}, test_states.MODELS))
    built.append(project(SOURCES, read_case(CASES / "unnest.sql").models))
    views = " ".join(v.select for b in built for p in planned(b, "x").steps for state in p.states for v in state.views)
    called = set(re.findall(r"(\w+)\(", views))
    assert called >= HARMLESS
    assert {_aggregate(name) for name in called} >= AGGREGATES


def _aggregate(name: str) -> str:
    return re.sub("(Simple|If)?State$", "", name)


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
    "seen_at + to_seconds(big)": "moving a time by a column",
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
