"""Lambdas over states in place of read views: as few levels as they can have, and the same answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from realtime.clickhouse.client import ClickHouse
from realtime.emit.readable import parsed_exactly, readable
from realtime.planner.ir import Direct, LambdaSpec, Missing
from realtime.planner.merge_selects import merge_selects
from realtime.transpile.form import parse_exactly
from tests.planner.small import Deployed, Row, counted, planned, project
from tests.planner.test_together import KEYS, QUERIES, answer_of, answers_by_key, batch_of, built, in_batch, rows
from tests.planner.test_windows import MODELS, SOURCES

# On one level, for one call and for many.
FLAT = {
    "look_up": "select c, s, d, last_at from {{ ref('viewed') }} where k = $k",
    "renamed": """
        with v as (select k as key, c + 1 as more, s as c from {{ ref('viewed') }} where k = $k),
        final as (select key, more * 2 as twice, c from v)
        select * from final""",
    "of_aggregates": "select k, c from {{ ref('viewed') }} where k = $k and c > 1 and coalesce(s, 0) <> 7 order by c",
    "guarded": "select rows, coalesce(least, -1) as least from {{ ref('busy') }} where k = $k",
    "newest": "select n, id, length(id) as size from {{ ref('newest') }} where k = $k",
    "branches": "select distinct c, most from {{ ref('all_of') }} where k = $k",
    "ordered": "select g, c from {{ ref('of_both') }} where k = $k order by c desc, g limit 2",
    "of_both": "select c from {{ ref('of_both') }} where k = $k and g = $g",
    "twice": "select c, c + s as a, c - s as b from {{ ref('viewed') }} where k = $k and s > 0",
    "either": "select g, c from {{ ref('of_both') }} where k = $k order by (c > 1 or g = 2), g",
    "failing": "select g, v from {{ ref('failing') }} where k = $k",
}
# Over states, but on several levels: joins, and aggregates of aggregates.
DEEP = {
    "aggregated": "select count(*) as groups, sum(c) as c, max(g) as g from {{ ref('of_both') }} where k = $k",
    "grouped": "select c, count(*) as groups from {{ ref('of_both') }} where k = $k group by c order by c",
    "grouped_by_either": """
        select c > 1 or g = 2 as some, count(*) as n from {{ ref('of_both') }} where k = $k
        group by c > 1 or g = 2""",
    "joined": """
        select a.c, b.g from {{ ref('viewed') }} a join {{ ref('of_both') }} b on a.k = b.k and b.g > 1
        where a.k = $k order by b.g""",
    "twice_read": """
        with v as (select * from {{ ref('of_both') }} where k = $k)
        select a.g, b.c from v a join v b on a.g = b.g + 1 order by 1, 2""",
    "ranked": "select g, rank() over (order by c, g) as r from {{ ref('of_both') }} where k = $k order by g",
    "scalar": "select c, (select max(n) from {{ ref('newest') }}) as most from {{ ref('viewed') }} where k = $k",
}
ALL = {**FLAT, **DEEP}


@pytest.fixture(scope="module")
def own(clickhouse: ClickHouse) -> Iterator[Deployed]:
    yield from _deployed("direct_own", ALL, clickhouse)


@pytest.fixture(scope="module")
def of_shared(clickhouse: ClickHouse) -> Iterator[Deployed]:
    """The same over states that models share."""
    yield from _deployed("direct_shared", {**ALL, **{f"together_{n}": QUERIES[n] for n in QUERIES}}, clickhouse)


def _deployed(database: str, queries: Mapping[str, str], clickhouse: ClickHouse) -> Iterator[Deployed]:
    yield Deployed(planned(built(queries=queries), database), clickhouse)
    for suffix in ("", "_raw", "_state"):
        clickhouse.execute(f"DROP DATABASE {database}{suffix} SYNC")


def direct(spec: LambdaSpec) -> Direct:
    assert spec.direct is not None, spec.name
    return spec.direct


def test_casts_to_what_it_is_are_dropped() -> None:
    """That types stay the same is asked of ClickHouse with every answer, below."""
    models = "select k, c, s, last_at from {{ ref('viewed') }} where k = $k"
    (spec,) = planned(built(queries={"look_up": models}), "x").lambdas
    view = next(
        step.select for step in planned(built(queries={"look_up": models}), "x").steps if step.model == "viewed"
    )
    for merged in ("sumMerge", "maxMerge"):
        assert f"CAST({merged}" in view
        assert f"CAST({merged}" not in direct(spec).select
    assert "CAST(countMerge" in direct(spec).select


def test_types_without_casts(clickhouse: ClickHouse) -> None:
    """Of states over columns that may be NULL or not, of all kinds of keys and aggregates."""
    kept = {name: sql for name, sql in MODELS.items() if name not in ("bought", "both", "hits")}
    queries = {f"all_of_{name}": f"select * from {{{{ ref('{name}') }}}}" for name in kept}
    plan = planned(project(SOURCES, MODELS, queries=queries), "direct_types")
    try:
        deployed = Deployed(plan, clickhouse)
        for spec in plan.lambdas:
            assert _types(deployed.client, direct(spec).select, {}) == _types(deployed.client, spec.select, {})
    finally:
        for suffix in ("", "_raw", "_state"):
            clickhouse.execute(f"DROP DATABASE IF EXISTS direct_types{suffix} SYNC")


def test_levels() -> None:
    for queries in (ALL, {**ALL, **{f"together_{n}": QUERIES[n] for n in QUERIES}}):
        plan = planned(built(queries=queries), "x")
        for spec in plan.lambdas:
            if spec.name in ALL and spec.together is None:
                texts = [direct(spec).select, *([direct(spec).keyed] if spec.keyed is not None else [])]
                assert all(("FROM (" in text or "JOIN" in text) == (spec.name in DEEP) for text in texts), texts
                assert not any("x." in text for text in texts), texts
        assert planned(built(queries=queries), "x") == plan


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(views=rows("v"), orders=rows("o", without_null=True), chats=rows("c"))
def test_every_answer_is_the_same(
    own: Deployed, of_shared: Deployed, views: list[Row], orders: list[Row], chats: list[Row]
) -> None:
    given_rows = {"app.views": views, "app.orders": orders, "app.chats": chats}
    batch = batch_of(given_rows)
    for deployed in (own, of_shared):
        deployed.empty()
        deployed.insert(given_rows, 1)
        for spec in deployed.plan.lambdas:
            if spec.direct is None:
                continue
            for other in ({"g": 1}, {"g": 3}) if any(p.name == "g" for p in spec.params) else ({},):
                found = {key: _checked(deployed.client, spec, {"k": key, **other}) for key in KEYS}
                for key, value in found.items():
                    if value != "error":
                        assert value == in_batch(batch, spec, {"k": key, **other}), (spec.name, key, other)
                _check_many(deployed.client, spec, found, other)


def _checked(client: ClickHouse, spec: LambdaSpec, values: Mapping[str, Any]) -> Any:
    """The answer from states, which is that from views, its types too; ``error`` where a group can't be read."""
    found = answer_of(client, direct(spec).select, values)
    assert found == answer_of(client, spec.select, values), (spec.name, values)
    if found != "error":
        assert _types(client, direct(spec).select, values) == _types(client, spec.select, values), spec.name
    return found


def _types(client: ClickHouse, select: str, values: Mapping[str, Any]) -> Sequence[Row]:
    return client.rows(f"DESCRIBE ({select})", values)


def _check_many(client: ClickHouse, spec: LambdaSpec, alone: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    if spec.keyed is None or "error" in alone.values():
        return
    found = answers_by_key(client, direct(spec).keyed, {"k": KEYS, **other})
    assert found == answers_by_key(client, spec.keyed.select, {"k": KEYS, **other}), spec.name
    for key in KEYS:
        if key in found or spec.keyed.missing is Missing.EMPTY:
            assert found.get(key, counted([])) == alone[key], (spec.name, key, other)


MERGED = {
    "select a.x as x from (select t.k as k, sumMerge(t.s) as x from d.t as t group by t.k) as a"
    " where a.k = {k: String}": "select sumMerge(t.s) as x from d.t as t where t.k = {k: String} group by t.k",
    "select a.x as x from (select t.k as k, sumMerge(t.s) as x from d.t as t where t.n > 0 group by t.k having"
    " countMerge(t.c) > 1) as a where a.k in {k: Array(String)} and a.x > 3 order by x desc limit 2 by a.k": (
        "select sumMerge(t.s) as x from d.t as t where t.n > 0 and t.k in {k: Array(String)} group by t.k"
        " having countMerge(t.c) > 1 and sumMerge(t.s) > 3 order by x desc limit 2 by t.k"
    ),
    "with a as (select t.k as k, t.n + 1 as n from d.t as t where t.n > 0) select count() as c from a as b"
    " where b.n < 9": "select count() as c from d.t as t where t.n > 0 and (t.n + 1) < 9",
    # A condition that may fail is asked of groups, as it was.
    "select a.x as x from (select t.k as k, max(t.s) as x from d.t as t group by t.k) as a"
    " where toUUID(a.k) = {u: UUID}": "select max(t.s) as x from d.t as t group by t.k having toUUID(t.k) = {u: UUID}",
}
KEPT = (
    "select sum(a.x) as x from (select t.k as k, sumMerge(t.s) as x from d.t as t group by t.k) as a",
    "select unheard(a.x) as x from (select t.k as k, sumMerge(t.s) as x from d.t as t group by t.k) as a",
    "select arrayJoin(a.x) as x from (select t.k as k, groupArrayMerge(t.s) as x from d.t as t group by t.k) as a",
    "select a.x as x from (select t.k as k, sumMerge(t.s) as x from d.t as t group by t.k limit 1) as a where a.x > 1",
    "select a.x as x from (select t.k as k, sumMerge(t.s) as x from d.t as t group by rollup(t.k)) as a",
    "select a.x as x from (select sumMerge(t.s) as x from d.t as t) as a where a.x > 1",
    "select a.x as x from (select arrayJoin(t.l) as x from d.t as t) as a where a.x > 1",
    "select a.x as x from (select rand() as x from d.t as t) as a where a.x > 1",
    "select a.x as x from (select t.x as x from d.t as t) as a join d.u as u on u.x = a.x",
    "with a as (select t.x as x from d.t as t) select (select count() as c from a as b) as c from a as c",
)


@pytest.mark.parametrize("text", MERGED)
def test_what_is_one_level(text: str) -> None:
    assert _merged(text) == _merged(MERGED[text]) == _same(MERGED[text])


@pytest.mark.parametrize("text", KEPT)
def test_what_stays_as_it_is(text: str) -> None:
    assert _merged(text) == _same(text)


def _tree(text: str) -> Any:
    tree = parsed_exactly(readable(parse_exactly(text)))
    assert tree is not None
    return tree


def _merged(text: str) -> str:
    return readable(merge_selects(_tree(text)))


def _same(text: str) -> str:
    return readable(_tree(text))
