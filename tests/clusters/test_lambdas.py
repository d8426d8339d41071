"""Lambdas over two shards: one state of several models, whole pieces of time and their edges, the order of tables."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.emit.shards import drop_database
from realtime.planner.ir import LambdaSpec
from realtime.planner.planner import plan_project
from realtime.project.manifest import Project
from tests.clusters.servers import CLUSTER, Cluster
from tests.planner import test_together as together
from tests.planner import test_windows as windows
from tests.planner.small import Declared, Deployed, Row, planned, project
from tests.planner.test_lambdas import written

# No shrinking: that would be hours of inserts.
_FEW = settings(
    max_examples=3,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Spread(Deployed):
    """A plan on all shards of a cluster."""

    def __init__(self, of: Project, database: str, cluster: Cluster) -> None:
        sources = {
            unique_id: dataclasses.replace(source, options={**source.options, "shard_by": "id"})
            for unique_id, source in of.sources.items()
        }
        plan = planned(dataclasses.replace(of, sources=sources, cluster=CLUSTER), database)
        self._own = [ClickHouse(server.endpoint) for server in cluster.servers]
        super().__init__(plan, ClickHouse(cluster.endpoints[0]))

    def empty(self) -> None:
        """Takes every row out of landing tables and states, on each server by itself."""
        everywhere, client = self._own, self.client
        for self.client in everywhere:
            super().empty()
        self.client = client

    def parts(self) -> list[int]:
        """How many rows each server has."""
        landings = [source.landing for source in self.plan.sources]
        counts = " + ".join(f"(SELECT count() FROM {landing})" for landing in landings)
        return [int(client.value(f"SELECT {counts}")) for client in self._own]

    def sent(self, query_id: str) -> int:
        """How many rows a server has sent to the one that was asked a query."""
        rows = 0
        for client in self._own:
            client.execute("SYSTEM FLUSH LOGS query_log")
            rows += int(
                client.value(
                    "SELECT sum(result_rows) FROM system.query_log WHERE initial_query_id = {id:String} "
                    "AND type = 'QueryFinish' AND NOT is_initial_query",
                    {"id": query_id},
                )
            )
        return rows

    def drop(self) -> None:
        """Drops its databases."""
        for suffix in ("", "_raw", "_state"):
            self.client.execute(drop_database(f"{self.plan.database}{suffix}", CLUSTER))
        for client in (self.client, *self._own):
            client.close()


@pytest.fixture(scope="module")
def over_time(two_shards: Cluster) -> Iterator[Spread]:
    """Lambdas over streams, and states that cut their time into pieces."""
    spread = Spread(windows.built(), "spread_windows", two_shards)
    yield spread
    spread.drop()


@pytest.fixture(scope="module")
def shared(two_shards: Cluster) -> Iterator[Spread]:
    """Lambdas over models that share their states."""
    spread = Spread(together.built(), "spread_together", two_shards)
    yield spread
    spread.drop()


@pytest.fixture(scope="module")
def apart(clickhouse: ClickHouse) -> Iterator[Deployed]:
    """The same models on a server that stands alone, with states of their own."""
    yield Deployed(planned(together.built(queries={}), "spread_apart"), clickhouse)
    for suffix in ("", "_raw", "_state"):
        clickhouse.execute(f"DROP DATABASE spread_apart{suffix} SYNC")


@_FEW
@given(data=st.data())
def test_windows_answer_as_batch_does(over_time: Spread, data: st.DataObject) -> None:
    batch = windows.in_memory()
    windows.compare(over_time, batch, data)


@_FEW
@given(
    views=together.rows("v"),
    orders=together.rows("o", without_null=True),
    chats=together.rows("c"),
    seed=st.integers(0, 99),
)
def test_what_models_share_answers_as_batch_does(
    shared: Spread, apart: Deployed, views: list[Row], orders: list[Row], chats: list[Row], seed: int
) -> None:
    found = {"app.views": views, "app.orders": orders, "app.chats": chats}
    for deployed in (shared, apart):
        deployed.empty()
        deployed.insert(found, seed)
    assert sum(shared.parts()) == len([*views, *orders, *chats])
    for one, other in zip(shared.plan.steps, apart.plan.steps, strict=True):
        if one.model != "failing":
            assert shared.read(one) == apart.read(other), one.model
    batch = together.batch_of(found)
    for spec in shared.plan.lambdas:
        together.check(spec, shared, apart, batch)


def test_groups_are_on_both_shards(shared: Spread) -> None:
    rows = [{"id": str(i), "k": "a", "g": 2, "n": i, "seen": None} for i in range(40)]
    shared.empty()
    shared.insert({"app.views": rows, "app.chats": rows}, 1)
    assert min(shared.parts()) > 10
    (spec,) = [spec for spec in shared.plan.lambdas if spec.name == "two_keys"]
    assert spec.together is not None
    assert shared.client.rows(spec.together.select, {"k": "a", "g": 2}) == [{"c": 40, "m": 39}]


def test_tables_are_ordered_as_on_one_server(over_time: Spread, shared: Spread) -> None:
    for spread, of in ((over_time, windows.built()), (shared, together.built())):
        alone = plan_project(of, "x").plan
        assert [s.order_by for s in spread.plan.sources] == [s.order_by for s in alone.sources]
        for mine, theirs in zip(spread.plan.steps, alone.steps, strict=True):
            form = [(s.order_by, s.index_granularity, s.models) for s in mine.states]
            assert form == [(s.order_by, s.index_granularity, s.models) for s in theirs.states]
            assert all(state.shards is not None for state in mine.states)
        for one, other in zip(spread.plan.lambdas, alone.lambdas, strict=True):
            assert [bool(one.window), bool(one.together)] == [bool(other.window), bool(other.together)]
            # Streams are read past their views too.
            assert one.direct is not None or other.direct is None


def test_no_table_of_one_shard_is_read(over_time: Spread, shared: Spread) -> None:
    for spread in (over_time, shared):
        texts = [text for spec in spread.plan.lambdas for text in _texts(spec)]
        texts += [step.select for step in spread.plan.steps]
        assert len(texts) > 20
        read = re.findall(r"spread_\w+_(?:raw|state)\.\w+|source\('(?:state|landing)', '\w+", " ".join(texts))
        assert read
        assert [table for table in read if not table.endswith("_all")] == []


def _texts(spec: LambdaSpec) -> Iterator[str]:
    yield spec.select
    for form in (spec.keyed, spec.window, spec.direct, spec.together, spec.together and spec.together.keyed):
        if form is not None:
            yield form.select
    for part in (spec.window, spec.direct):
        yield part.keyed if part is not None else ""


MOMENTS = [
    "1900-01-01 00:00:00", "1969-12-31 23:58:00.000001", "1970-01-01 00:00:00", "1970-01-01 00:02:00.000001",
    "1973-03-03 09:46:39.999999", "1973-03-03 09:46:40", "2018-05-02 12:00:00", "2286-11-20 17:46:40",
    "2299-12-31 23:59:59.999999",
]  # fmt: skip
OF_MOMENTS = {
    "seen": "select id, coalesce(seen, timestamp '1960-01-01') as seen from {{ source('app', 'hits') }}",
    "plain": "select id, seen from {{ source('app', 'hits') }}",
    "per_moment": "select seen, count(*) as c from {{ ref('plain') }} group by seen",
    "recent": "select seen, count(*) as c from {{ ref('plain') }} where seen > timestamp '1950-01-01' group by seen",
    "ranked": "select seen, c, rank() over (order by c desc) as place from {{ ref('per_moment') }}",
    "early": "select id, rank() over (order by id) as place from {{ source('app', 'hits') }}"
    " where seen < timestamp '1970-01-01 00:00:05'",
}
AT = "seen = {{ param('at', 'timestamp') }}"
FOR_MOMENTS = {
    "rows": f"select count(*) as n from {{{{ ref('plain') }}}} where {AT}",
    "made": f"select count(*) as n from {{{{ ref('seen') }}}} where {AT}",
    "of_source": f"select count(*) as n from {{{{ source('app', 'hits') }}}} where {AT}",
    "since": "select count(*) as n from {{ ref('plain') }}"
    " where seen >= {{ param('at', 'timestamp') }} - interval 1 day",
    "kept": f"select c as n from {{{{ ref('per_moment') }}}} where {AT}",
    "kept_recent": f"select c as n from {{{{ ref('recent') }}}} where {AT}",
    "kept_all": "select sum(c) as n from {{ ref('recent') }} where seen > {{ param('at', 'timestamp') }}",
    "in_rank": f"select c as n from {{{{ ref('ranked') }}}} where {AT}",
    "in_early": "select count(*) as n from {{ ref('early') }} where {{ param('at', 'timestamp') }} is not null",
}


@pytest.fixture(scope="module")
def of_moments(two_shards: Cluster) -> Iterator[Spread]:
    """Models and lambdas that compare moments, over forty rows of each of `MOMENTS`."""
    sources = {"app.hits": Declared({"id": "bigint", "seen": "timestamp"}, ("id",))}
    built = project(sources, OF_MOMENTS, queries={name: written(sql) for name, sql in FOR_MOMENTS.items()})
    spread = Spread(built, "spread_moments", two_shards)
    spread.insert({"app.hits": [{"id": i, "seen": m} for i, m in enumerate(MOMENTS * 40)]}, 1)
    yield spread
    spread.drop()


@pytest.mark.parametrize("at", MOMENTS)
def test_moments_reach_the_other_shards(of_moments: Spread, at: str) -> None:
    expected: dict[str, Any] = dict.fromkeys(FOR_MOMENTS, 40)
    expected |= {"since": 40 * sum(_day(moment) >= _day(at) - 1 for moment in MOMENTS)}
    expected |= {"kept_recent": 40 if at > "1950" else None, "in_early": 120}
    expected |= {"kept_all": 40 * sum(moment > max(at, "1950") for moment in MOMENTS) or None}
    for spec in of_moments.plan.lambdas:
        texts = [spec.select, *([spec.direct.select] if spec.direct is not None else [])]
        texts += [spec.window.select] if spec.window is not None else []
        for text in texts:
            found = of_moments.client.rows(text, {"at": at})
            assert (found[0]["n"] if found else None) == expected[spec.name], (spec.name, text)


def _day(moment: str) -> float:
    return (dt.datetime.fromisoformat(moment) - dt.datetime(1970, 1, 1)) / dt.timedelta(days=1)


@pytest.mark.parametrize("name", ["rows", "of_source", "kept"])
def test_shards_send_only_what_is_asked_for(of_moments: Spread, name: str) -> None:
    (spec,) = [spec for spec in of_moments.plan.lambdas if spec.name == name]
    asked, query_id = spec.direct.select if spec.direct is not None else spec.select, uuid.uuid4().hex
    of_moments.client.rows(asked, {"at": MOMENTS[3]}, {"query_id": query_id})
    # A state has a row of each insert until they are merged.
    assert 0 < of_moments.sent(query_id) <= (3 if name == "kept" else 40)
