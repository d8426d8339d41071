"""Which query answers a lambda that has a window: that over states where these are whole, else that over rows."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.planner.ir import Keyed, LambdaSpec, Missing, Plan, Shape, State, Step, Window, streams_digest
from realtime.serving.calls import Call, Calls
from realtime.serving.formats import BY_SUFFIX
from realtime.serving.limits import Limits
from realtime.serving.registry import Entry, Registry, holds
from realtime.serving.upstream import Upstream
from tests.serving.plans import deploy, param, plan, spec

STREAM = Step(
    model="hits", unique_id="model.t.hits", shape=Shape.STREAM, why="", relation="x.hits", batch="", columns=(),
    select="SELECT 1",
)  # fmt: skip


def active(database: str, where: str = "") -> tuple[Plan, LambdaSpec]:
    """A plan with a lambda that says which of its queries answered; ``where`` is a condition on the state's rows."""
    state = State(name="minutes", relation=f"{database}_state.minutes", engine="", order_by=())
    kept = msgspec.structs.replace(STREAM, model="minutes", shape=Shape.AGGREGATE, states=(state,))
    of_state = f"SELECT 'state' AS v FROM {state.relation}{where}"
    keyed = "SELECT '{0}' AS v, k AS __duet_key FROM (SELECT arrayJoin({{k:Array(String)}}) AS k), (SELECT {1}) AS n"
    asked = spec(
        "asked",
        f"SELECT 'rows' AS v FROM {database}.events WHERE {{k:String}} != '' LIMIT 1",
        [param("k", "VARCHAR")],
        [("v", "VARCHAR")],
        depends_on=("hits",),
        keyed=Keyed("k", keyed.format("rows", f"sum(n) FROM {database}.events"), Missing.EMPTY),
    )
    whole = msgspec.structs.replace(plan(database, [asked]), steps=(STREAM, kept))
    many = keyed.format("state", f"count() FROM {state.relation}{where}")
    window = Window(of_state, many, (state.relation,), "", streams_digest(whole, asked))
    asked = msgspec.structs.replace(asked, window=window)
    return msgspec.structs.replace(whole, lambdas=(asked,)), asked


def test_it_holds_as_long_as_states_and_streams_are_those_it_was_made_for() -> None:
    found, asked = active("x")
    complete = ["x_state.minutes"]
    assert holds(asked, found, complete)
    assert not holds(asked, found, [])
    assert not holds(asked, None, complete)
    assert not holds(msgspec.structs.replace(asked, window=None), found, complete)
    other = msgspec.structs.replace(STREAM, select="SELECT 2")
    assert not holds(asked, msgspec.structs.replace(found, steps=(other, *found.steps[1:])), complete)
    assert not holds(asked, msgspec.structs.replace(found, steps=(STREAM,)), complete)


@pytest.fixture
def events(clickhouse: ClickHouse, database: str) -> str:
    """A database with a state of one row, made of three."""
    for name in (f"{database}.events", f"{database}_state.minutes"):
        clickhouse.execute(f"CREATE DATABASE {name.split('.')[0]}")
        clickhouse.execute(f"CREATE TABLE {name} (n UInt8) ENGINE = MergeTree ORDER BY n")
    clickhouse.insert(f"{database}.events", ["n"], [[1], [2], [3]])
    clickhouse.insert(f"{database}_state.minutes", ["n"], [[1]])
    return database


def asked_twice(endpoint: Endpoint, database: str, version: str = "", light: int = 1) -> tuple[Any, ...]:
    """What answers one call, and two at once, where ``light`` rows are few."""

    async def run() -> tuple[Any, ...]:
        upstream = Upstream(endpoint, Limits(light=light))
        try:
            registry = Registry(upstream, database, nothing)
            await registry.refresh()
            assert registry.problem == ""
            entry = registry.catalog.find("asked", version)
            return (await Calls(upstream).answer(call(entry, "a")), *await together(upstream, entry))
        finally:
            await upstream.close()

    return asyncio.run(run())


async def nothing(_: Plan | None) -> None:
    pass


async def together(upstream: Upstream, entry: Entry) -> list[bytes]:
    """One call, and two that wait for it and are asked together."""
    calls = Calls(upstream)
    return await asyncio.gather(*(calls.answer(call(entry, k)) for k in "abc"))


def call(entry: Entry, key: str) -> Call:
    return Call(entry, {"k": key}, BY_SUFFIX["ndjson"], "r1", False)


STATE, ROWS = b'{"v":"state"}\n', b'{"v":"rows"}\n'


@pytest.mark.parametrize(
    ("phase", "where", "answer"),
    [
        ("complete", "", STATE),
        ("late", "", ROWS),
        ("cut", "", ROWS),
        ("complete", " WHERE throwIf(n = 1, 'failed on a row')", ROWS),
    ],
)
def test_states_answer_where_they_can(
    endpoint: Endpoint, clickhouse: ClickHouse, events: str, phase: str, where: str, answer: bytes
) -> None:
    deploy(clickhouse, active(events, where)[0])
    clickhouse.insert(f"{events}_duet.states", ["relation", "phase"], [[f"{events}_state.minutes", phase]])
    assert set(asked_twice(endpoint, events)) == {answer}
    assert set(asked_twice(endpoint, events, light=3)) == {ROWS}
    clickhouse.execute(f"DROP TABLE {events}_state.minutes SYNC")
    assert set(asked_twice(endpoint, events)) == {ROWS}


def test_an_older_version_reads_rows(endpoint: Endpoint, clickhouse: ClickHouse, events: str) -> None:
    found, asked = active(events)
    deploy(clickhouse, found)
    deploy(clickhouse, msgspec.structs.replace(found, lambdas=(msgspec.structs.replace(asked, version="new"),)))
    clickhouse.insert(f"{events}_duet.states", ["relation", "phase"], [[f"{events}_state.minutes", "complete"]])
    assert set(asked_twice(endpoint, events, version=asked.version)) == {ROWS}
    assert set(asked_twice(endpoint, events)) == {STATE}
