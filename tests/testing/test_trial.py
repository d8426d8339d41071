"""Given rows of every type through landing tables, states and views; temporary databases do not stay."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.temporary import drop_left_behind, temporary_database
from realtime.errors import SourceError
from realtime.planner.ir import Plan
from realtime.project.binder import table
from realtime.project.manifest import Model, Project
from realtime.testing.fixtures import connect, in_duckdb, load_compiled, load_expected
from realtime.testing.trial import DATABASES, Trial
from realtime.testing.variant import Variant, given_source, plan_variant
from realtime.testing.verdict import Status, Verdict

MODEL = Model(
    unique_id="model.shop.m",
    name="m",
    sql="",
    relation=table("m"),
    depends_on=(),
    options={"ttl": "t + INTERVAL 1 DAY", "mode": "aggregate"},
    description="",
    descriptions={},
    path="models/m.sql",
)
PROJECT = Project(name="shop", adapter="duckdb", sources={}, models={}, tests=(), queries=())
GIVEN = "__dbt__cte__g"

VALUES = [
    ("tinyint", "-128"),
    ("ubigint", "18446744073709551615"),
    ("hugeint", "-170141183460469231731687303715884105728"),
    ("decimal(38,9)", "-12345678901234567890123456789.123456789"),
    ("float", "0.1"),
    ("double", "5e-324"),
    ("double", "'nan'"),
    ("double", "'-inf'"),
    ("varchar", "'it''s \\ \"日本\" 🦆\n\t'"),
    ("varchar", "''"),
    ("boolean", "false"),
    ("date", "'1900-01-01'"),
    ("date", "'2299-12-31'"),
    ("timestamp", "'1969-12-31 23:59:59.999999'"),
    ("timestamptz", "'2024-02-29 23:59:59.000001+05:30'"),
    ("time", "'23:59:59.999999'"),
    ("uuid", "'00112233-4455-6677-8899-aabbccddeeff'"),
    ("varchar[]", "['a', NULL, '']"),
    ("struct(a integer, b varchar)", "{'a': 1, 'b': NULL}"),
    ("map(varchar, integer)", "map {'k': 1, 'l': NULL}"),
]

_NEVER_NULL = frozenset({"varchar[]", "struct(a integer, b varchar)", "map(varchar, integer)"})


class Bench:
    """Unit tests without dbt: what dbt would compile, given by hand."""

    def __init__(self, client: ClickHouse) -> None:
        self.client = client

    def run(
        self,
        rows: str,
        model: str,
        expected: str,
        *,
        alter: Mapping[str, str] | None = None,
        adapter: str = "duckdb",
    ) -> tuple[Verdict, Verdict]:
        """Verdicts on the compiled SELECT and on the views; ``alter`` replaces text in the materialized views."""
        with connect() as connection, temporary_database(self.client, DATABASES) as database:
            query, tables = load_compiled(connection, f"with {GIVEN} as ({rows}) {model}", adapter, {})
            source = given_source(connection, GIVEN, tables[GIVEN], None)
            variant = plan_variant(PROJECT, MODEL, query, [source], database)
            if alter is not None:
                variant = Variant(variant.sources, variant.compiled, _altered(variant.kept, alter))
            tested = load_expected(connection, in_duckdb(expected, adapter), variant.compiled.columns)
            return Trial(self.client, connection, variant, tested, database).run()


def _altered(plan: Plan, alter: Mapping[str, str]) -> Plan:
    """``plan`` with other text in its materialized views."""
    (step,) = plan.steps
    (state,) = step.states
    (view,) = state.views
    select = view.select
    for old, new in alter.items():
        assert old in select
        select = select.replace(old, new)
    state = msgspec.structs.replace(state, views=(msgspec.structs.replace(view, select=select),))
    return msgspec.structs.replace(plan, steps=(msgspec.structs.replace(step, states=(state,)),))


@pytest.fixture
def bench(clickhouse: ClickHouse) -> Bench:
    return Bench(clickhouse)


def test_values_of_every_type_arrive(bench: Bench) -> None:
    columns = [f"cast({value} as {kind}) as c{i}" for i, (kind, value) in enumerate(VALUES)]
    nothing = [f"cast({value if kind in _NEVER_NULL else 'null'} as {kind})" for kind, value in VALUES]
    rows = f"select {', '.join(columns)} union all select {', '.join(nothing)}"
    names = ", ".join(f"c{i}" for i in range(len(VALUES)))
    through = bench.run(rows, f"select {names} from {GIVEN}", rows)
    assert through == (Verdict(Status.PASS), Verdict(Status.PASS))
    scalars = ", ".join(
        f"max(c{i}) as c{i}" for i, (kind, _) in enumerate(VALUES) if kind not in {*_NEVER_NULL, "boolean", "uuid"}
    )
    assert bench.run(rows, f"select {scalars} from {GIVEN}", f"select {scalars} from ({rows})") == through


def test_many_rows_in_shuffled_batches(bench: Bench) -> None:
    rows = "select range as n, range % 7 as k from range(1000)"
    model = f"select k, count(*) as c, sum(n) as s, max(n) as m from {GIVEN} group by k"
    expected = model.replace(GIVEN, f"({rows})")
    assert bench.run(rows, model, expected) == (Verdict(Status.PASS), Verdict(Status.PASS))


def test_equal_rows_are_not_taken_for_repeated_inserts(bench: Bench) -> None:
    rows = "select 1 as n from range(40)"
    found = bench.run(rows, f"select n, count(*) as c from {GIVEN} group by n", "select 1 as n, 40 as c")
    assert found == (Verdict(Status.PASS), Verdict(Status.PASS))


def test_other_dialect(bench: Bench) -> None:
    """What is authored for Postgres means what it means there: whole numbers divide to whole numbers."""
    rows = "select cast('Zoë' as character varying) as k, cast(7 as integer) as n union all select 'Zoë', 2"
    model = f"select k || '!' as k, max(n) / 2 as half, max(n)::text as most from {GIVEN} group by k || '!'"
    expected = "select 'Zoë!' as k, 3 as half, '7' as most"
    assert bench.run(rows, model, expected, adapter="postgres") == (Verdict(Status.PASS), Verdict(Status.PASS))


def test_views_are_tested_apart_from_the_select(bench: Bench) -> None:
    rows = "select 'a' as k, 1 as n union all select 'a', 2 union all select 'b', 4"
    model = f"select k, sum(n) as s from {GIVEN} where n > 0 group by k"
    compiled, views = bench.run(rows, model, model.replace(GIVEN, f"({rows})"), alter={"WHERE": "WHERE n <> 1 AND"})
    assert compiled == Verdict(Status.PASS)
    assert (views.status, views.failures) == (Status.FAIL, 2)
    assert {(e.side, e.row["k"], e.row["s"]) for e in views.examples} == {("expected", "a", "3"), ("actual", "a", "2")}


def test_view_that_refuses_a_row(bench: Bench) -> None:
    model = f"select n, count(*) as c from {GIVEN} group by n"
    alter = {"__dbt__cte__g.n AS n": "__dbt__cte__g.n + throwIf(__dbt__cte__g.n = 2, 'not two') AS n"}
    rows = "select 1 as n union all select 2"
    compiled, views = bench.run(rows, model, f"select n, 1 as c from ({rows})", alter=alter)
    assert compiled == Verdict(Status.PASS)
    assert views.status is Status.ERROR
    assert "a row is refused on insert: not two" in views.reason


def test_view_that_can_not_be_made(bench: Bench) -> None:
    model = f"select n, count(*) as c from {GIVEN} group by n"
    found = bench.run("select 1 as n", model, "select 1 as n, 1 as c", alter={"FROM ": "FROM nowhere."})
    assert found[0] == Verdict(Status.PASS)
    assert found[1].status is Status.ERROR
    assert "ClickHouse refused `CREATE TABLE" in found[1].reason


def test_rows_that_can_not_land(bench: Bench) -> None:
    for value, reason in {
        "date '9999-12-31'": 'the given row {"c":"9999-12-31"} of g can\'t land: column c ',
        "null::integer[]": "column c is NULL, which a list can't be",
    }.items():
        for found in bench.run(f"select {value} as c", f"select c from {GIVEN}", "select null as c"):
            assert found.status is Status.NOT_APPLICABLE
            assert reason in found.reason
    with pytest.raises(SourceError, match="column c holds BLOBs"):
        bench.run("select 'a'::blob as c", f"select c from {GIVEN}", "select null as c")


def _there(client: ClickHouse) -> set[str]:
    rows = client.rows("SELECT name FROM system.databases WHERE startsWith(name, 'duet_test_')")
    return {row["name"] for row in rows}


def test_databases_go_with_the_block(clickhouse: ClickHouse) -> None:
    with contextlib.suppress(KeyboardInterrupt), temporary_database(clickhouse, DATABASES) as name:
        assert _there(clickhouse) == {name, f"{name}_raw", f"{name}_state"}
        raise KeyboardInterrupt
    assert _there(clickhouse) == set()


def test_databases_of_a_killed_run_go_later(clickhouse: ClickHouse) -> None:
    old, young = f"duet_test_{int(time.time()) - 7200}_ab_raw", f"duet_test_{int(time.time())}_ab"
    other = "duet_test_results"
    for name in (old, young, other):
        clickhouse.execute(f"CREATE DATABASE {name}")
    drop_left_behind(clickhouse, DATABASES, 3600)
    assert _there(clickhouse) == {young, other}
    for name in (young, other):
        clickhouse.execute(f"DROP DATABASE {name}")
