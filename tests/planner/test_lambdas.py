"""Lambdas: parameters read from the macros' comments, bound by the server, the same answer in both engines."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import LambdaSpec, Plan
from realtime.planner.planner import plan_project
from tests.planner.small import Deployed, Row, counted, planned, project
from tests.planner.sources import COLUMNS, SOURCES

MACROS = Path(__file__).parents[2] / "macros"


def macros() -> dict[str, Any]:
    """``param`` and ``as_of`` as dbt would have them."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    environment.globals["tojson"] = lambda value: json.dumps(value)
    param = environment.from_string((MACROS / "param.sql").read_text()).module.param  # type: ignore[attr-defined]
    environment.globals["param"] = param
    as_of = environment.from_string((MACROS / "as_of.sql").read_text()).module.as_of  # type: ignore[attr-defined]
    return {"param": param, "as_of": as_of}


def written(sql: str) -> str:
    """``sql`` with the macros filled in; ref() and source() stay."""
    keep = {"ref": lambda n: f"{{{{ ref('{n}') }}}}", "source": lambda g, n: f"{{{{ source('{g}', '{n}') }}}}"}
    return jinja2.Template(sql).render(**macros(), **keep)


RECENT = """
select count(*) as events, count(distinct k) as ks, max(seen_at) as newest
from {{ ref('staged') }}
where k = {{ param('k', 'varchar', description='A */ comment, /* or "two".') }}
    and seen_at > {{ as_of() }} - interval 20 minute
    and seen_at <= {{ as_of() }}
"""
LATEST = """
select id, seen_at from {{ ref('staged') }} where n >= {{ param('least', 'integer', default=0, min=-5, max=5) }}
order by seen_at desc, id limit {{ param('rows', 'bigint', default=2, enum=[1, 2]) }}
"""
TOTALS = "select k, total from {{ ref('per_k') }} where k = {{ param('k', 'varchar', required=false) }} order by k"
MODELS = {
    "staged": "select id, k, n, seen_at from {{ source('app', 'events') }}",
    "per_k": "select k, sum(n) as total from {{ ref('staged') }} group by k",
}
QUERIES = {"recent": RECENT, "latest": LATEST, "totals": TOTALS}


def _row(number: int, **given: Any) -> Row:
    return {**dict.fromkeys(COLUMNS), "id": f"e{number}", **given}


NOON = datetime.datetime(2018, 5, 2, 12)
ROWS = [
    _row(1, k="a", n=1, seen_at=NOON),
    _row(2, k="a", n=-2, seen_at=NOON - datetime.timedelta(minutes=20)),
    _row(3, k="a", n=3, seen_at=NOON - datetime.timedelta(minutes=20) + datetime.timedelta(microseconds=1)),
    _row(4, k="a", n=4, seen_at=NOON + datetime.timedelta(microseconds=1)),
    _row(5, k="ä'--", n=5, seen_at=NOON),
    _row(6, seen_at=NOON),
]
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("recent", {"k": "a", "as_of": "2018-05-02 12:00:00"}),
    ("recent", {"k": "a", "as_of": "2018-05-02 12:00:00.000001"}),
    ("recent", {"k": "ä'--", "as_of": "2018-05-02 12:00:00"}),
    ("recent", {"k": "none", "as_of": "2018-05-02 12:00:00"}),
    ("latest", {"least": 1, "rows": 2}),
    ("latest", {"least": -5, "rows": 1}),
    ("totals", {"k": "a"}),
    ("totals", {"k": None}),
]


def _plan(database: str) -> Plan:
    return planned(project(SOURCES, MODELS, queries={n: written(s) for n, s in QUERIES.items()}), database)


def _spec(plan: Plan, name: str) -> LambdaSpec:
    return next(spec for spec in plan.lambdas if spec.name == name)


def test_same_answer(clickhouse: ClickHouse, database: str) -> None:
    plan = _plan(database)
    deployed = Deployed(plan, clickhouse)
    deployed.insert({"app.events": ROWS}, seed=3)
    batch = _in_duckdb()
    for name, given in CALLS:
        spec = _spec(plan, name)
        found = clickhouse.rows(spec.select, given)
        answer = batch.execute(spec.batch, given)
        names = [d[0] for d in answer.description]
        expected = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
        assert list(counted(found).elements()) == list(counted(expected).elements()), (name, given)


def _in_duckdb(rows: list[Row] = ROWS) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("CREATE SCHEMA app")
    connection.execute("CREATE TABLE app.events (" + ", ".join(f'"{n}" {t}' for n, t in COLUMNS.items()) + ")")
    marks = ", ".join("?" for _ in COLUMNS)
    for row in rows:
        connection.execute(f"INSERT INTO app.events VALUES ({marks})", [row[c] for c in COLUMNS])
    for name, sql in MODELS.items():
        text = sql.replace("{{ source('app', 'events') }}", "app.events").replace("{{ ref('staged') }}", "staged")
        connection.execute(f"CREATE VIEW {name} AS {text}")
    return connection


def test_parameters() -> None:
    plan = _plan("x")
    k, as_of = _spec(plan, "recent").params
    assert (k.name, k.type, k.clickhouse, k.required) == ("k", "VARCHAR", "Nullable(String)", True)
    assert k.description == 'A */ comment, /* or "two".'
    assert (as_of.name, as_of.type, as_of.required, as_of.default) == ("as_of", "TIMESTAMP", False, None)
    least, rows = _spec(plan, "latest").params
    assert (least.default, least.minimum, least.maximum, least.required) == (0, -5, 5, False)
    assert rows.enum == (1, 2)
    assert not _spec(plan, "totals").params[0].required
    assert [c.name for c in _spec(plan, "recent").columns] == ["events", "ks", "newest"]
    assert _spec(plan, "totals").depends_on == ("per_k",)


def test_a_limit_is_never_null_or_negative_and_an_example_may_leave_its_default() -> None:
    sql = "select id from {{ ref('staged') }} order by id limit {{ param('rows', 'bigint', default=2) }}"
    sql += " offset {{ param('skip', 'integer', default=0, max=5) }}"
    plan = planned(project(SOURCES, MODELS, queries={"q": written(sql)}, examples={"examples": [{}, {"rows": 3}]}), "x")
    assert [(p.name, p.required, p.minimum, p.maximum) for p in _spec(plan, "q").params] == [
        ("rows", True, 0, None), ("skip", True, 0, 5),
    ]  # fmt: skip


def test_a_version_is_the_query_and_its_parameters() -> None:
    versions = {s.name: s.version for s in _plan("x").lambdas}
    assert versions == {s.name: s.version for s in _plan("x").lambdas}
    changed = {**QUERIES, "latest": LATEST.replace("default=2", "default=1")}
    other = planned(project(SOURCES, MODELS, queries={n: written(s) for n, s in changed.items()}), "x")
    assert {s.name for s in other.lambdas if s.version != versions[s.name]} == {"latest"}


def test_examples_and_the_plan_survive_json() -> None:
    built = project(SOURCES, MODELS, queries={"q": written(TOTALS)}, examples={"examples": [{"k": "a"}, {}]})
    plan = planned(built, "x")
    assert plan.lambdas[0].examples == ({"k": "a"}, {})
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


REFUSED = {
    "select n from {{ ref('staged') }} where n = $n": "parameter n is not declared",
    "select {{ param('n', 'money') }} as n from {{ ref('staged') }}": "money",
    "select {{ param('n', 'integer') }} + {{ param('n', 'bigint') }} as n": "declared twice, differently",
    "select {{ param('t', 'time') }} as t": "parameter t: a parameter can't be of type TIME",
    "select id from {{ ref('staged') }} where day in {{ param('t', 'time[]') }}": "compare it with strftime(moment, ",
    "select {{ param('b', 'blob') }} as b": "parameter b: a parameter can't be of type BLOB",
    "select n from {{ ref('nowhere') }}": "reads nowhere",
    "select now() as n": "it depends on when the query runs",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_refused(sql: str) -> None:
    models = {**MODELS, "nowhere": "select 1 as n"}
    built = project(SOURCES, models, options={"nowhere": None}, queries={"q": written(sql)})
    (error,) = plan_project(built, "x").refusals
    assert "lambdas/q.sql" in str(error)
    assert REFUSED[sql] in str(error)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([{"m": 1}], "an example gives m, which is no parameter"),
        ([{}], "an example lacks k"),
        ({"k": 1}, "not a list of mappings"),
    ],
)
def test_wrong_examples(examples: Any, said: str) -> None:
    sql = written("select total from {{ ref('per_k') }} where k = {{ param('k', 'varchar') }}")
    built = project(SOURCES, MODELS, queries={"q": sql}, examples={"examples": examples})
    (error,) = plan_project(built, "x").refusals
    assert said in str(error)
