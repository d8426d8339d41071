"""Every aggregate through a real materialized view: rows in any order and batches, merged, equal DuckDB's answer."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import Shape, Step
from realtime.project.manifest import Project
from realtime.transpile.passes.one_name import one_name
from realtime.transpile.rules.aggregates import NAMED, SPECS
from realtime.transpile.transpile import parse
from tests.planner.small import Declared, Deployed, Row, planned, project
from tests.transpile.engines import ask_clickhouse, ask_duckdb, in_any_order, same

COLUMNS = {
    "id": "integer", "k": "varchar", "n": "integer", "big": "bigint", "price": "decimal(10,2)", "x": "double",
    "y": "double", "flag": "boolean", "body": "varchar", "seen": "timestamp",
}  # fmt: skip
AGGREGATES = """
    count(*) as rows, count(n) as ns, count(distinct n) as dn, count(distinct x) as dx, count_if(n > 1) as above,
    sum(n) as sn, sum(big) as sb, sum(price) as sp, sum(x) as sx, sum(distinct n) as sdn, sum(distinct price) as sdp,
    avg(n) as an, avg(big) as ab, avg(price) as ap, avg(x) as ax, avg(distinct n) as adn,
    min(n) as mn, max(big) as xb, min(price) as mp, max(x) as xx, min(x) as mx, min(body) as mt, max(seen) as xs,
    min(flag) as mf, max(flag) as xf, bool_or(flag) as any_, bool_and(flag) as all_,
    arg_max(body, id) as newest, arg_min(body, id) as oldest, arg_max(id, seen + id * interval 1 second) as by_time,
    stddev(n) as d1, stddev_samp(x) as d2, stddev_pop(n) as d3, variance(n) as d4, var_samp(price) as d5,
    var_pop(x) as d6,
    corr(x, y) as c1, covar_samp(x, y) as c2, covar_pop(y, x) as c3,
    bit_and(n) as b1, bit_or(n) as b2, bit_xor(big) as b3,
    median(n) as m1, quantile_cont(x, 0.25) as q1, percentile_cont(0.9) within group (order by n) as q2,
    quantile_disc(n, 0.5) as q3, quantile_disc(price, 0.75) as q4,
    percentile_disc(0.1) within group (order by body) as q5,
    first(body order by id) as f1, last(body order by id) as f2, first(n order by id desc) as f3,
    string_agg(body, '|' order by id) as s1, string_agg(n, ',' order by id desc) as s2,
    count(*) filter (where flag) as w1, sum(n) filter (where x > 0) as w2, avg(price) filter (where n > 0) as w3,
    max(x) filter (where not flag) as w4, arg_max(n, id) filter (where flag) as w5,
    any_value(body order by id) as a1, arg_max_null(body, id) as a2,
    arg_min_null(n, seen + id * interval 1 second) as a3,
    sem(n) as e1, entropy(body) as e2, product(x) as e3, fsum(price) as e4, favg(n) as e5, mad(n) as e6,
    quantile_disc(x, 0.3) as e7, quantile_disc(flag, 0.5) as e8,
    regr_count(x, y) as r1, regr_avgx(x, y) as r2, regr_avgy(x, y) as r3, regr_sxx(x, y) as r4, regr_syy(x, y) as r5,
    regr_sxy(x, y) as r6, regr_slope(x, y) as r7, regr_intercept(x, y) as r8, regr_r2(x, y) as r9
"""
LISTS = "list(body order by id) as l1, array_agg(n order by id desc) as l2, list(x order by body, id) as l3"
MODELS = {
    "per_key": f"select k, {AGGREGATES}, {LISTS} from {{{{ source('app', 'events') }}}} group by k",
    "overall": f"select {AGGREGATES} from {{{{ source('app', 'events') }}}}",
}
_TEXTS = ["", "a", "b", "ä", "日本", "B"]
_HALVES = [0.0, -0.0, 0.5, -2.25, 3.0, 1024.5, 7.0]
# Sums of numbers with few binary places are exact in any order; what is left are the last bits of roots and quotients.
_TOLERANCE = 1e-9


def _maybe(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": _maybe(["", "a", "ä"]),
            "n": _maybe([0, 1, -1, 2, 5, 2**31 - 1, -(2**31)]),
            "big": _maybe([0, 3, -7, 2**63 - 1, -(2**63)]),
            "price": _maybe([Decimal(p) for p in ("0.00", "0.01", "-0.05", "12.34", "99999999.99")]),
            "x": _maybe(_HALVES),
            "y": _maybe(_HALVES),
            "flag": _maybe([True, False]),
            "body": _maybe(_TEXTS),
            "seen": _maybe(
                [datetime.datetime(1969, 12, 31, 23, 59, 59, 999999), datetime.datetime(2018, 5, 2, 1, 2, 3)]
            ),
        }
    ),
    max_size=14,
).map(lambda rows: [{"id": i, **row} for i, row in enumerate(rows)])


def test_every_aggregate_is_in_the_models() -> None:
    queries = [one_name(parse(_plain(sql))) for sql in MODELS.values()]
    used = {node for query in queries for node in query.walk()}
    assert set(SPECS) <= {type(node) for node in used}
    assert set(NAMED) <= {node.name.lower() for node in used if isinstance(node, exp.Anonymous)}


@pytest.fixture
def built() -> Project:
    return project({"app.events": Declared(COLUMNS)}, MODELS)


def test_merged_states_equal_duckdb(built: Project, clickhouse: ClickHouse, database: str) -> None:
    plan = planned(built, database)
    assert {s.shape for s in plan.steps} == {Shape.AGGREGATE}
    deployed = Deployed(plan, clickhouse)

    @settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(ROWS, st.integers(0, 1000))
    def check(rows: list[Row], seed: int) -> None:
        deployed.empty()
        deployed.insert({"app.events": rows}, seed)
        connection = _loaded(rows)
        for step in plan.steps:
            _compare(step, connection, deployed, merged=random.Random(seed).random() < 0.5)

    check()


def _compare(step: Step, connection: duckdb.DuckDBPyConnection, deployed: Deployed, *, merged: bool) -> None:
    if merged:
        for state in step.states:
            deployed.client.execute(f"OPTIMIZE TABLE {state.relation} FINAL")
    wanted = ask_duckdb(connection, _plain(MODELS[step.model]), {}, step.columns)
    found = ask_clickhouse(deployed.client, f"SELECT * FROM {step.relation}", {}, step.columns)
    for a, b in zip(*(in_any_order(rows, exact=False) for rows in (wanted, found)), strict=True):
        different = [(c.name, x, y) for c, x, y in zip(step.columns, a, b, strict=True) if not same(x, y, _TOLERANCE)]
        assert not different, f"{step.model}: DuckDB, ClickHouse: {different}"


def _plain(sql: str) -> str:
    return sql.replace("{{ source('app', 'events') }}", "events")


def _loaded(rows: list[Row]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("SET threads = 1")
    connection.execute(f"CREATE TABLE events ({', '.join(f'{n} {t}' for n, t in COLUMNS.items())})")
    for values in _in_order(rows):
        connection.execute(f"INSERT INTO events VALUES ({', '.join('?' for _ in COLUMNS)})", values)
    return connection


def _in_order(rows: list[Row]) -> Iterator[list[Any]]:
    for row in rows:
        yield [row[c] for c in COLUMNS]
