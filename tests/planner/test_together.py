"""Models of one grain that a lambda reads together: one state, and the same answers as from states of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.errors import CommandError
from realtime.planner.ir import LambdaSpec, Missing
from realtime.planner.keyed import KEY
from realtime.project.manifest import Project
from tests.planner.small import Declared, Deployed, Row, counted, ordered, planned, project
from tests.planner.test_lambdas import written

COLUMNS = {"id": "varchar", "k": "varchar", "g": "integer", "n": "integer", "seen": "timestamp"}
SOURCES = {
    "app.views": Declared(COLUMNS),
    "app.orders": Declared(COLUMNS, not_null=("k",)),
    "app.chats": Declared(COLUMNS),
}
MODELS = {
    "viewed": """
        select k, count(*) as c, sum(n) as s, count(distinct g) as d, max(seen) as last_at
        from {{ source('app', 'views') }} group by k""",
    "ordered": """
        with final as (select k, sum(n) as total, avg(n) as mean from {{ source('app', 'orders') }} group by k)
        select * from final""",
    "busy": """
        select k, count(*) as rows, min(n) as least
        from {{ source('app', 'views') }} where g > 1 group by k having count(*) > 1""",
    "newest": """
        select k, id, n from {{ source('app', 'chats') }}
        qualify row_number() over (partition by k order by seen desc, id desc) = 1""",
    "all_of": """
        select k, count(*) as c, max(n) as most from (
            select k, n from {{ source('app', 'views') }}
            union all select k, cast(n as bigint) + 1 from {{ source('app', 'chats') }}
        ) group by k""",
    "failing": "select k, sum(n * 1000) as v, max(g) as g from {{ source('app', 'chats') }} where g > 2 group by k",
    "of_both": "select k, g, count(*) as c from {{ source('app', 'views') }} group by k, g",
    "also_of_both": "select g, k, max(n) as m from {{ source('app', 'chats') }} group by g, k",
    "alone": "select k, count(*) as c from {{ source('app', 'chats') }} group by k",
}
QUERIES = {
    "left": """
        with v as (select * from {{ ref('viewed') }} where k = $k),
        o as (select * from {{ ref('ordered') }} where k = $k),
        n as (select k as key, id, cast(n as bigint) * 2 as twice from {{ ref('newest') }} where $k = k),
        final as (
            select v.k, v.c, v.d, v.last_at, o.total, o.mean, n.*
            from v left join o on v.k = o.k left join n on v.k = n.key
        )
        select * from final""",
    "chain": """
        select v.c, o.total, a.most, b.rows
        from {{ ref('viewed') }} v left join {{ ref('ordered') }} o on v.k = o.k
        left join {{ ref('all_of') }} a on o.k = a.k
        left join {{ ref('busy') }} b on b.k = a.k and b.least < a.most where v.k = $k""",
    "inner": """
        select v.*, a.most, coalesce(n.id, 'none') as id
        from {{ ref('viewed') }} v join {{ ref('all_of') }} a using (k)
        left join {{ ref('newest') }} n on n.k = v.k and n.n > 0 where v.k = $k and a.most is not null""",
    "filtered": """
        select o.total, b.rows, b.least is null as lacking
        from (select * from {{ ref('ordered') }} where k = $k and total > 0) o
        left join (select k, rows, least from {{ ref('busy') }} where k = $k and least > 0) b on true""",
    "inside": """
        select count(*) as c, sum(x.total) as s from (
            select v.k, o.total from {{ ref('viewed') }} v inner join {{ ref('ordered') }} o on v.k = o.k
            where v.k = $k
        ) x""",
    "crossed": """
        with v as (select count(*) as c, sum(s) as s from {{ ref('viewed') }} where k = $k),
        n as (
            select max(id) as id, count(*) filter (where n > 0) as c from {{ ref('newest') }} where k = $k and n < 9
        )
        select v.c, v.s, n.id, n.c + 1 as c2 from v cross join n""",
    "scalars": """
        select (select max(c) from {{ ref('viewed') }} where k = $k) as c,
            coalesce((select sum(total) from {{ ref('ordered') }} where k = $k), 0) + 1 as t,
            (select count(*) from {{ ref('busy') }} where k = $k) > 0 as is_busy""",
    "failing": """
        select v.c, f.v from {{ ref('viewed') }} v left join {{ ref('failing') }} f on f.k = v.k where v.k = $k""",
    "two_keys": """
        select b.c, a.m from {{ ref('of_both') }} b
        left join {{ ref('also_of_both') }} a on a.k = b.k and a.g = b.g where b.k = $k and b.g = $g""",
}
# Each with the reason that `duet explain` gives.
APART = {
    "a FULL JOIN": """
        select v.c, o.total from {{ ref('viewed') }} v full join {{ ref('ordered') }} o on v.k = o.k where v.k = $k""",
    "it reads one model by this key": "select c from {{ ref('viewed') }} where k = $k",
    "k of viewed is not tied to a parameter by =": """
        select v.c from {{ ref('viewed') }} v join {{ ref('ordered') }} o on v.k = o.k where v.c = $g""",
    "k of ordered is not tied to a parameter by =": """
        select v.c from {{ ref('viewed') }} v join {{ ref('ordered') }} o on v.c = o.total where v.k = $k""",
    "k of all_of is not tied to a parameter by =": """
        select a.c from {{ ref('all_of') }} a left join {{ ref('ordered') }} o on a.k = o.k where o.k = $k""",
    "viewed is grouped by k, of_both by k, g": """
        select v.c, b.c as d from {{ ref('viewed') }} v join {{ ref('of_both') }} b on v.k = b.k
        where v.k = $k and b.g = $g""",
    "g of of_both is not tied to a parameter by =": """
        select a.m, b.c from {{ ref('also_of_both') }} a join {{ ref('of_both') }} b on a.k = b.k
        where a.k = $k and a.g = $g""",
    "k is compared with more than one parameter": """
        select v.c, o.total from {{ ref('viewed') }} v, {{ ref('ordered') }} o where v.k = $k and o.k = $other""",
    "a query below the join is more than columns and conditions of one model": """
        with o as (select distinct k, total from {{ ref('ordered') }} where k = $k)
        select v.c, o.total from {{ ref('viewed') }} v left join o on v.k = o.k where v.k = $k""",
    "explode below the join": """
        select v.x, o.total from (select k, unnest([1, 2]) as x from {{ ref('viewed') }} where k = $k) v
        join {{ ref('ordered') }} o on v.k = o.k""",
    "l of listed can't be NULL in ClickHouse": """
        select v.c, coalesce(l.l, []) as l from {{ ref('viewed') }} v left join {{ ref('listed') }} l on v.k = l.k
        where v.k = $k""",
    "it reads s, which is no model": """
        select v.c, s.id from {{ ref('viewed') }} v join {{ source('app', 'chats') }} s on v.k = s.k where v.k = $k""",
    "ranked is not kept by keys in one state": """
        select v.c, r.r from {{ ref('viewed') }} v join {{ ref('ranked') }} r on v.k = r.k where v.k = $k""",
    "the keys of by_g and by_wide are not of the same types": """
        select g.c, w.c as d from {{ ref('by_g') }} g join {{ ref('by_wide') }} w on g.g = w.g where g.g = $g""",
    "wide is compared with a column of another type, or of floats": """
        select g.c, a.m from {{ ref('by_g') }} g cross join {{ ref('also_by_g') }} a
        where g.g = $wide and a.g = $wide""",
    "the state of parted has a ttl or partitions of its own": """
        select v.c, p.c as d from {{ ref('viewed') }} v join {{ ref('parted') }} p on v.k = p.k where v.k = $k""",
}
OTHERS = {
    "listed": "select k, list(n order by id) as l from {{ source('app', 'chats') }} group by k",
    "ranked": "select k, rank() over (order by c) as r from {{ ref('viewed') }}",
    "by_g": "select g, count(*) as c from {{ source('app', 'views') }} group by g",
    "also_by_g": "select g, max(n) as m from {{ source('app', 'chats') }} group by g",
    "by_wide": """
        select g, count(*) as c from (select cast(g as bigint) as g from {{ source('app', 'chats') }}) group by g""",
    "parted": "select k, count(*) as c from {{ source('app', 'views') }} group by k",
}
TYPES = {"k": "varchar", "g": "integer", "other": "varchar", "wide": "bigint"}


def parametric(sql: str) -> str:
    """``sql`` with ``param()`` in place of ``$k``."""
    return written(re.sub(r"\$(\w+)", lambda found: f"{{{{ param('{found[1]}', '{TYPES[found[1]]}') }}}}", sql))


def built(models: Mapping[str, str] = MODELS, queries: Mapping[str, str] = QUERIES, **options: Any) -> Project:
    return project(SOURCES, models, queries={name: parametric(sql) for name, sql in queries.items()}, options=options)


@pytest.fixture(scope="module")
def shared(clickhouse: ClickHouse) -> Iterator[Deployed]:
    """The models with states that they share; beside it, in ``apart``, with states of their own."""
    yield from _deployed("together", built(), clickhouse)


@pytest.fixture(scope="module")
def apart(clickhouse: ClickHouse) -> Iterator[Deployed]:
    yield from _deployed("apart", built(queries={}), clickhouse)


def _deployed(database: str, of: Project, clickhouse: ClickHouse) -> Iterator[Deployed]:
    yield Deployed(planned(of, database), clickhouse)
    for suffix in ("", "_raw", "_state"):
        clickhouse.execute(f"DROP DATABASE {database}{suffix} SYNC")


def test_models_that_are_read_together_have_one_state() -> None:
    plan = planned(built(), "x")
    states = {step.model: step.states[0] for step in plan.steps}
    assert all(spec.together is not None for spec in plan.lambdas), [spec.apart for spec in plan.lambdas]
    assert states["viewed"].models == ("all_of", "busy", "failing", "newest", "ordered", "viewed")
    assert len({states[model].relation for model in states["viewed"].models}) == 1
    assert states["of_both"].models == ("also_of_both", "of_both")
    assert states["alone"].models == ()
    assert planned(built(), "x") == plan


@pytest.mark.parametrize("reason", APART)
def test_where_it_is_not_proven_nothing_changes(reason: str) -> None:
    of = built({**MODELS, **OTHERS}, {"asked": APART[reason]}, parted={"partition_by": "k"})
    plan = planned(of, "x")
    (spec,) = plan.lambdas
    assert (spec.together, spec.apart) == (None, reason)
    assert not any(state.models for step in plan.steps for state in step.states)


KEYS = ["a", "ä'\\\t\"", "missing"]
KINDS: dict[str, list[Any]] = {
    "k": [None, *KEYS[:-1]],
    "g": [None, 1, 2, 3],
    "n": [None, 0, 1, -1, 7, 2**31 - 1, -(2**31)],
    "seen": [None, "1900-01-01 00:00:00", "2018-05-02 19:38:15.000001", "2299-12-31 23:59:59.999999"],
}


def rows(source: str, *, without_null: bool = False) -> st.SearchStrategy[list[Row]]:
    values = {**KINDS, "k": KINDS["k"][1:] if without_null else KINDS["k"]}
    row = st.fixed_dictionaries({name: st.sampled_from(found) for name, found in values.items()})
    return st.lists(row, max_size=8).map(lambda found: [{"id": f"{source}{i}", **r} for i, r in enumerate(found)])


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    views=rows("v"), orders=rows("o", without_null=True), chats=rows("c"), seed=st.integers(0, 99), merged=st.booleans()
)
def test_every_answer_is_the_same(
    shared: Deployed, apart: Deployed, views: list[Row], orders: list[Row], chats: list[Row], seed: int, merged: bool
) -> None:
    given_rows = {"app.views": views, "app.orders": orders, "app.chats": chats}
    for deployed in (shared, apart):
        deployed.empty()
        deployed.insert(given_rows, seed)
    if merged:
        for relation in {state.relation for step in shared.plan.steps for state in step.states}:
            shared.client.execute(f"OPTIMIZE TABLE {relation} FINAL")
    for one, other in zip(shared.plan.steps, apart.plan.steps, strict=True):
        if one.model != "failing":
            assert shared.read(one) == apart.read(other), one.model
    batch = batch_of(given_rows)
    for spec in shared.plan.lambdas:
        check(spec, shared, apart, batch)


def check(spec: LambdaSpec, shared: Deployed, apart: Deployed, batch: duckdb.DuckDBPyConnection) -> None:
    """All ways to answer ``spec`` give the same for every key."""
    together = spec.together
    assert together is not None
    assert together.keyed is not None, (spec.name, together.alone)
    others: list[dict[str, Any]] = [{"g": g} for g in (1, 3)] if "g" in [p.name for p in spec.params] else [{}]
    for other in others:
        alone = {key: answer_of(shared.client, together.select, {"k": key, **other}) for key in KEYS}
        for key in KEYS:
            given_values = {"k": key, **other}
            views = answer_of(shared.client, spec.select, given_values)
            select = spec.select.replace(f"{shared.plan.database}.", f"{apart.plan.database}.")
            own = answer_of(apart.client, select, given_values)
            # A failed group that the join has no row for is an error where ClickHouse looks at it, which it may or not.
            answered = [answer for answer in (alone[key], views, own) if answer != "error"]
            assert all(answer == (views if len(answered) == 3 else counted([])) for answer in answered), (
                spec.name,
                key,
            )
            if len(answered) == 3:
                assert alone[key] == in_batch(batch, spec, given_values), (spec.name, given_values)
        if "error" in alone.values():
            continue
        many = answers_by_key(shared.client, together.keyed.select, {"k": KEYS, **other})
        for key in KEYS:
            if key in many or together.keyed.missing is Missing.EMPTY:
                assert many.get(key, counted([])) == alone[key], (spec.name, key, other)
        if together.keyed.missing is Missing.SAME:
            lacking = [alone[key] for key in KEYS if key not in many]
            assert all(answer == lacking[0] for answer in lacking), spec.name


def answer_of(client: ClickHouse, select: str, given_values: Mapping[str, Any]) -> Any:
    """The rows; ``error`` where a group can't be read in batch either."""
    try:
        return counted(client.rows(select, given_values))
    except CommandError as error:
        if "failed on a row" not in str(error):
            raise
        return "error"


def answers_by_key(client: ClickHouse, select: str, given_values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, list[Row]] = {}
    for row in client.rows(select, given_values):
        found.setdefault(row.pop(KEY), []).append(row)
    return {key: counted(answer) for key, answer in found.items()}


def batch_of(given_rows: Mapping[str, list[Row]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'; SET threads = 1; CREATE SCHEMA app")
    for source, found in given_rows.items():
        connection.execute(f"CREATE TABLE {source} (" + ", ".join(f'"{n}" {t}' for n, t in COLUMNS.items()) + ")")
        for row in found:
            connection.execute(f"INSERT INTO {source} VALUES (?, ?, ?, ?, ?)", [row[c] for c in COLUMNS])
    for model in ordered(built()):
        connection.execute(f"CREATE VIEW {model.relation.sql('duckdb')} AS {model.sql}")
    return connection


def in_batch(batch: duckdb.DuckDBPyConnection, spec: LambdaSpec, given_values: Mapping[str, Any]) -> Any:
    answer = batch.execute(spec.batch, dict(given_values))
    names = [column[0] for column in answer.description]
    return counted([dict(zip(names, row, strict=True)) for row in answer.fetchall()])
