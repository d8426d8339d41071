"""Lambdas over streams from states and the edges: the same answer as over every row, in both engines, at any moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import LambdaSpec, Missing, Plan, streams_digest
from realtime.planner.keyed import KEY
from realtime.planner.planner import plan_project
from realtime.project.manifest import Project
from tests.planner.small import Declared, Deployed, Row, counted, planned, project
from tests.planner.test_lambdas import written

COLUMNS = {
    "id": "bigint", "room": "varchar", "n": "integer", "price": "decimal(12,2)", "seen": "timestamp", "day": "date",
    "z": "timestamptz", "kind": "varchar",
}  # fmt: skip
SOURCES = {"app.hits": Declared(COLUMNS, ("id", "kind"))}
MODELS = {
    "hits": "select *, date_trunc('minute', seen) as minute, n * 1000000 as large from {{ source('app', 'hits') }}",
    "bought": "with all_of as (select * from {{ ref('hits') }})"
    " select * from all_of where kind = 'buy' and n is not null",
    "minutes": """
        select room, date_trunc('minute', seen) as minute, count(*) as hits, count(distinct n) as ns, sum(n) as total,
            min(seen) as first, max(price) as most, avg(price) as mean, arg_max(n, seen) as newest,
            count(*) filter (where n > 0) as positive, sum(price) filter (where kind = 'buy') as revenue,
            median(n) as middle
        from {{ ref('hits') }} group by room, date_trunc('minute', seen)""",
    "more_minutes": """
        select room, minute, max(n) as most, count(distinct kind) as kinds, stddev_samp(n) as spread,
            sum(distinct n) as ones, list(n order by seen) as all_n, string_agg(kind, ',' order by seen) as all_kinds,
            bool_or(n > 3) as any, list(distinct n order by n) as set_n, first(price order by seen) as first
        from {{ ref('hits') }} group by room, minute""",
    "bought_minutes": "select minute, room, count(*) as hits, sum(large * n) as risky, max(n) as most"
    " from {{ ref('bought') }} group by minute, room",
    "hours": "select date_trunc('hour', z) as hour, room, kind, count(*) as hits from {{ ref('hits') }} group by all",
    "days": "select cast(seen as date) as day, room, sum(n) as total from {{ ref('hits') }} group by 1, 2",
    "fives": "select time_bucket(interval 5 minute, seen) as five, min(n) as least from {{ ref('hits') }} group by 1",
    "weeks": "select date_trunc('week', day) as week, min(n) as least from {{ ref('hits') }} group by 1",
    "months": "select date_trunc('month', seen) as month, kind, max(n) as most from {{ ref('hits') }} group by 1, 2",
    "quarters": "select date_trunc('quarter', day) as quarter, max(id) as most from {{ ref('hits') }} group by 1",
    "both": "select room, seen, n from {{ ref('hits') }} union all select kind, z, n + 1 from {{ ref('hits') }}",
    "both_minutes": "select room, date_trunc('minute', seen) as minute, max(n) as most from {{ ref('both') }}"
    " group by 1, 2",
}
ROOMS_GIVEN = "{{ param('rooms', 'varchar[]') }}"
ROOM = "room = {{ param('room', 'varchar') }}"
FROM, TO = "{{ param('from', 'timestamp') }}", "{{ param('to', 'timestamp') }}"
LAST = "seen > {{ as_of() }} - interval 3 minute and seen <= {{ as_of() }}"
QUERIES = {
    "last": f"select count(*) as c, count(distinct n) as d, sum(n) as s from {{{{ ref('hits') }}}}"
    f" where {ROOM} and {LAST}",
    "by_room": f"""select room, count(*) as c, avg(price) as a, median(n) as m, arg_max(n, seen) as newest
        from {{{{ ref('hits') }}}} where {LAST} group by room having count(*) > 1 order by c desc, room limit 3""",
    "filtered": f"""with recent as (select * from {{{{ ref('hits') }}}} where {ROOM} and seen between {FROM} and {TO})
        select count(*) filter (where n > 0) as p, sum(price) filter (where kind = 'buy') as r, min(seen) as first,
            max(price) as most from recent""",
    "by_minute": f"select minute, sum(n) as s, count(*) + 1 as c from {{{{ ref('hits') }}}}"
    f" where {ROOM} and seen >= {FROM} and seen < {TO} group by minute order by minute",
    "since": f"select sum(n) as s, max(price) as m from {{{{ ref('hits') }}}} where {ROOM} and seen >= {FROM}",
    "until": f"select sum(n) as s, max(price) as m from {{{{ ref('hits') }}}} where {ROOM} and {TO} > seen",
    "narrow": f"select count(*) as c from {{{{ ref('hits') }}}} where {ROOM} and seen > {FROM} and seen >= {TO}"
    f" and seen <= {TO} + interval 2 minute and room <> 'b'",
    "all": f"select sum(n) as s, max(price) as m from {{{{ ref('hits') }}}} where {ROOM}",
    "bought": f"select count(*) as c, max(n) as m from {{{{ ref('bought') }}}} where {ROOM} and {LAST}",
    "bought_inside": f"select count(*) as c from {{{{ ref('hits') }}}} where n is not null and {ROOM} and {LAST}"
    " and kind = 'buy'",
    "risky": f"select sum(large * n) as s from {{{{ ref('bought') }}}} where {ROOM} and {LAST}",
    "hourly": f"""select kind, count(*) as c from {{{{ ref('hits') }}}} where {ROOM}
        and z > {{{{ param('from', 'timestamptz') }}}} and z < {{{{ param('to', 'timestamptz') }}}} group by kind""",
    "daily": f"select sum(n) as s from {{{{ ref('hits') }}}} where {ROOM} and seen >= cast({FROM} as date)"
    f" and seen < {TO}",
    "five": f"select min(n) as least from {{{{ ref('hits') }}}} where seen > {FROM} and seen <= {TO}",
    "weekly": f"select min(n) as least from {{{{ ref('hits') }}}} where day > cast({FROM} as date)"
    f" and day <= cast({TO} as date)",
    "monthly": f"select max(n) as most from {{{{ ref('hits') }}}} where seen >= {FROM} and seen < {TO}"
    " and kind = 'buy'",
    "quarterly": f"select max(id) as most from {{{{ ref('hits') }}}} where day >= cast({FROM} as date)"
    f" and day < cast({TO} as date)",
    "united": f"select max(n) as most from {{{{ ref('both') }}}} where {ROOM} and {LAST}",
    "rooms": f"select sum(n) as s, count(*) as c from {{{{ ref('hits') }}}} where room in {ROOMS_GIVEN} and {LAST}",
    "maybe_rooms": f"select sum(n) as s from {{{{ ref('hits') }}}} where (len({ROOMS_GIVEN}) = 0"
    f" or room in {ROOMS_GIVEN}) and {LAST}",
    "either_room": f"select sum(n) as s from {{{{ ref('hits') }}}}"
    f" where ({ROOM} or room = 'b' or room is null) and {LAST}",
    "either": f"select max(price) as m, count(*) as c from {{{{ ref('hits') }}}} where {ROOM} or {LAST}",
    "maybe": f"select max(price) as m, count(*) as c from {{{{ ref('hits') }}}} where ({FROM} is null or seen > {FROM})"
    f" and (seen <= {TO} or {TO} is null or room is null)",
    "apart": f"select count(*) as c from {{{{ ref('hits') }}}}"
    f" where seen > {FROM} and seen <= {FROM} + interval 2 minute or seen > {TO} and seen <= {TO} + interval 3 minute",
    "several": f"select count(*) as c, max(n) as m, count(distinct kind) as d from {{{{ ref('hits') }}}}"
    f" where {ROOM} and {LAST}",
    "several_by_minute": f"""select minute, count(*) as c, max(n) as m, sum(distinct n) as d from {{{{ ref('hits') }}}}
        where {ROOM} and seen > {FROM} and seen <= {TO} group by minute having max(n) > 0 order by minute""",
    "filtered_keys": f"""select count(*) filter (where {ROOM}) as c, sum(n) filter (where room <> 'b') as s,
            median(n) filter (where {ROOM}) as m, avg(price) filter (where room is null) as a,
            arg_max(n, seen) filter (where {ROOM}) as newest, min(seen) filter (where {ROOM}) as first,
            count(distinct n) filter (where {ROOM}) as d, count(*) as c_all, sum(n) as s_all
        from {{{{ ref('hits') }}}} where {LAST}""",
    "filtered_more": f"""select stddev_samp(n) filter (where {ROOM}) as s, sum(distinct n) filter (where {ROOM}) as d,
            bool_or(n > 3) filter (where {ROOM}) as b,
            first(price order by seen) filter (where {ROOM}) as f, max(n) as m
        from {{{{ ref('hits') }}}} where {LAST}""",
    "filtered_times": f"""select count(*) as c,
            count(*) filter (where seen > {{{{ as_of() }}}} - interval 1 minute) as c1,
            count(distinct n) filter (where seen > {{{{ as_of() }}}} - interval 2 minute and {ROOM}) as d2
        from {{{{ ref('hits') }}}} where {LAST}""",
    "beside": f"""select room, count(*) as c, count(*) filter (where kind = 'buy' and n is not null) as b,
            max(n) filter (where kind = 'buy' and n is not null) as m
        from {{{{ ref('hits') }}}} where {LAST} group by room""",
    "groups": f"""select room, max(n) filter (where kind = 'buy' and n is not null) as m
        from {{{{ ref('hits') }}}} where {LAST} group by room""",
    "beside_rows": f"select count(distinct kind) as d, stddev_pop(n) as s, count(*) as c, max(id) as m"
    f" from {{{{ ref('hits') }}}} where {ROOM} and {LAST}",
    "beside_rows_by_room": f"""select room, count(distinct kind) as d, variance(id) as s, count(*) as c,
            count(distinct kind) filter (where room <> 'b') as f
        from {{{{ ref('hits') }}}} where {LAST} group by room""",
    "risky_beside": f"""select sum(large * n) filter (where kind = 'buy' and n is not null) as s, count(*) as c,
        count(distinct kind) as d from {{{{ ref('hits') }}}} where {ROOM} and {LAST}""",
    "rows_beside": f"""select (select sum(n) from {{{{ ref('hits') }}}} where {ROOM} and {LAST}) as now,
        (select var_pop(n) from {{{{ ref('hits') }}}} where {ROOM} and {LAST}) as spread""",
    "two": f"""select (select sum(n) from {{{{ ref('hits') }}}} where {ROOM} and {LAST}) as now,
        (select sum(n) from {{{{ ref('hits') }}}} where {ROOM} and seen < {{{{ as_of() }}}}) as before""",
}
WHOLE = {"all"}
OF_ROOM = f"from {{{{ ref('hits') }}}} where {ROOM} and {LAST}"
EVENTS = {
    "other_aggregate": (f"select stddev_pop(n) as s {OF_ROOM}", "minutes does not keep"),
    "other_filter": (f"select count(*) filter (where n > 1) as c {OF_ROOM}", "minutes does not keep"),
    "other_key": (f"select count(*) as c {OF_ROOM} and id = 1", "minutes is not grouped by what `_row.id"),
    "either_row": (f"select max(price) as m {OF_ROOM} or id = 1", "is not grouped by what"),
    "beside_cheap": (f"select count(distinct n) as c, stddev_pop(n) as s {OF_ROOM}", "minutes does not keep"),
    "fewer_rows": (f"select sum(large * n) as s {OF_ROOM}", "minutes does not keep sumState"),
    "by_column": (f"select count(*) as c {OF_ROOM} and seen > z", "minutes is not grouped by what"),
    "group": (f"select id, sum(price) as s {OF_ROOM} group by id", "minutes is not grouped by _row.id"),
}  # fmt: skip
ROOMS = ["a", "b", "ä'\t"]


def built() -> Project:
    queries = {**QUERIES, **{name: sql for name, (sql, _) in EVENTS.items()}}
    return project(SOURCES, MODELS, queries={name: written(sql) for name, sql in queries.items()})


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(built(), "windows")


@pytest.fixture(scope="module")
def deployed(plan: Plan, clickhouse: ClickHouse) -> Iterator[Deployed]:
    yield Deployed(plan, clickhouse)
    for suffix in ("", "_raw", "_state"):
        clickhouse.execute(f"DROP DATABASE windows{suffix} SYNC")


@pytest.fixture(scope="module")
def batch() -> duckdb.DuckDBPyConnection:
    return in_memory()


def in_memory() -> duckdb.DuckDBPyConnection:
    """The source without rows, and the models that only map its rows."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA app")
    connection.execute("CREATE TABLE app.hits (" + ", ".join(f'"{n}" {t}' for n, t in COLUMNS.items()) + ")")
    for model in built().models.values():
        if model.name in ("hits", "bought", "both"):
            connection.execute(f"CREATE VIEW {model.relation.sql('duckdb')} AS {model.sql}")
    return connection


def spec_of(plan: Plan, name: str) -> LambdaSpec:
    return next(spec for spec in plan.lambdas if spec.name == name)


def test_which_have_a_window(plan: Plan) -> None:
    for name in QUERIES:
        spec = spec_of(plan, name)
        assert spec.window is not None, (name, spec.events)
        assert ("all of it from" in spec.window.why) == (name in WHOLE), name
        assert bool(spec.window.keyed) == (spec.keyed is not None), name
        assert spec.window.streams == streams_digest(plan, spec)
        relations = {s.relation for step in plan.steps for s in step.states}
        assert set(spec.window.states) <= relations


@pytest.mark.parametrize("name", EVENTS)
def test_why_rows_are_read(plan: Plan, name: str) -> None:
    spec = spec_of(plan, name)
    assert spec.window is None
    assert EVENTS[name][1] in spec.events


def test_what_is_read_from_where(plan: Plan) -> None:
    found = {name: spec_of(plan, name).window for name in ("several", "groups", "beside_rows", "rows_beside")}
    why = {name: window.why for name, window in found.items() if window is not None}
    assert why["several"] == (
        "m, d of whole pieces of minute from more_minutes, of the edges from windows_raw.app__hits;"
        " c of whole pieces of minute from minutes, of the edges from windows_raw.app__hits"
    )
    assert "groups of whole pieces of minute from minutes" in why["groups"]
    assert (
        "s_stddevPopStable, s_count, c, m of every row of windows_raw.app__hits, as no model keeps"
        in why["beside_rows"]
    )
    assert "d of whole pieces of minute from more_minutes" in why["beside_rows"]
    assert "every row where more_minutes does not keep varPop" in why["rows_beside"]
    assert "whole pieces of minute from minutes" in why["rows_beside"]


def test_an_author_may_want_rows() -> None:
    of_room = project(SOURCES, MODELS, queries={"last": written(QUERIES["last"])}, examples={"states": False})
    (spec,) = planned(of_room, "x").lambdas
    assert (spec.window, spec.events) == (None, "")
    wrong = project(SOURCES, MODELS, queries={"last": written(QUERIES["last"])}, examples={"states": "no"})
    (refusal,) = plan_project(wrong, "x").refusals
    assert "meta.lambda.states is 'no'" in str(refusal)


START = dt.datetime(2018, 5, 2, 12)
AROUND = [START, dt.datetime(1969, 12, 31, 23, 58), dt.datetime(2024, 2, 28, 23, 57)]
STEPS = [dt.timedelta(microseconds=m) for m in (-1, 0, 1, 500_000, 59_999_999)]
MOMENTS = st.builds(
    lambda start, minutes, step: start + dt.timedelta(minutes=minutes) + step,
    st.sampled_from(AROUND), st.integers(0, 7) | st.sampled_from([60, 1440, 10_080, 44_640]), st.sampled_from(STEPS),
)  # fmt: skip
TIMES = st.none() | MOMENTS
ROWS = st.builds(
    lambda **given: given,
    id=st.integers(0, 99), room=st.none() | st.sampled_from(ROOMS), n=st.none() | st.integers(-3, 9),
    price=st.none() | st.decimals(-5, 5, places=2), seen=TIMES, z=TIMES,
    day=st.none() | MOMENTS.map(lambda m: m.date()),
    kind=st.sampled_from(["buy", "see"]),
)  # fmt: skip


def asked(client: ClickHouse, select: str, params: Mapping[str, Any]) -> list[Row]:
    return client.rows(select, {name: value for name, value in params.items() if f"{{{name}:" in select})


def in_batch(connection: duckdb.DuckDBPyConnection, spec: LambdaSpec, params: Mapping[str, Any]) -> list[Row]:
    answer = connection.execute(spec.batch, {p.name: params[p.name] for p in spec.params})
    names = [d[0] for d in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def by_key(client: ClickHouse, spec: LambdaSpec, params: Mapping[str, Any]) -> dict[str, list[Row]]:
    assert spec.window is not None
    found: dict[str, list[Row]] = {}
    for row in asked(client, spec.window.keyed, {**params, "room": ROOMS}):
        found.setdefault(row.pop(KEY), []).append(row)
    return found


def same(one: Sequence[Row], other: Sequence[Row]) -> bool:
    """Equal rows; no two of them tie in what they are ordered by."""
    return counted(one) == counted(other)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_form_answers_the_same(deployed: Deployed, batch: duckdb.DuckDBPyConnection, data: st.DataObject) -> None:
    compare(deployed, batch, data)


def compare(deployed: Deployed, batch: duckdb.DuckDBPyConnection, data: st.DataObject) -> None:
    """Every form of every lambda, over rows that are drawn, with batch."""
    rows = data.draw(st.lists(ROWS, max_size=40, unique_by=lambda r: r["seen"] or r["id"]), label="rows")
    deployed.empty()
    deployed.insert({"app.hits": rows}, seed=data.draw(st.integers(0, 99)))
    batch.execute("DELETE FROM app.hits")
    if rows:
        marks = ", ".join("?" for _ in COLUMNS)
        batch.executemany(f"INSERT INTO app.hits VALUES ({marks})", [[row[c] for c in COLUMNS] for row in rows])
    for _ in range(2):
        params = {"from": data.draw(TIMES), "to": data.draw(TIMES), "as_of": data.draw(TIMES)}
        params["rooms"] = data.draw(st.lists(st.none() | st.sampled_from(ROOMS), max_size=3))
        for name in QUERIES:
            spec = spec_of(deployed.plan, name)
            assert spec.window is not None
            keyed = by_key(deployed.client, spec, params) if spec.window.keyed else {}
            for room in ROOMS if spec.keyed else ROOMS[:1]:
                given_ = {**params, "room": room}
                wanted = in_batch(batch, spec, given_)
                label = (name, given_, spec.window.select)
                assert same(asked(deployed.client, spec.select, given_), wanted), label
                assert same(asked(deployed.client, spec.window.select, given_), wanted), label
                if spec.direct is not None:
                    assert same(asked(deployed.client, spec.direct.select, given_), wanted), (label, spec.direct.select)
                if spec.keyed is not None and (room in keyed or spec.keyed.missing is Missing.EMPTY):
                    assert same(keyed.get(room, []), wanted), (label, spec.window.keyed)
