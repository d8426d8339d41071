"""Answers that are used again: which calls share one, for how long, and what is forgotten first."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.planner.ir import LambdaSpec
from realtime.serving.calls import Call, Calls
from realtime.serving.failures import QueryError
from realtime.serving.formats import BY_SUFFIX, JSON, Format
from realtime.serving.limits import Limits
from realtime.serving.registry import Entry
from realtime.serving.results import Results, _Kept
from realtime.serving.upstream import Upstream
from tests.serving.plans import param, spec

NDJSON = BY_SUFFIX["ndjson"]
PARAMS = [param("k", "VARCHAR"), param("as_of", "TIMESTAMP", required=False)]
COLUMNS = [("n", "BIGINT")]


def counting(table: str, name: str = "counted", seconds: float = 60) -> LambdaSpec:
    """How many rows ``table`` has, so that an answer tells when it was made."""
    select = f"SELECT count() AS n FROM {table} WHERE {{k:String}} != '' AND {{as_of:Nullable(String)}} IS NOT NULL"
    return spec(name, select, PARAMS, COLUMNS, cache_seconds=seconds)


@pytest.fixture
def table(clickhouse: ClickHouse, database: str) -> str:
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(f"CREATE TABLE {database}.t (n Int32) ENGINE = MergeTree ORDER BY n")
    return f"{database}.t"


def run(
    endpoint: Endpoint,
    work: Callable[[Results], Awaitable[None]],
    most: int = 1 << 20,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    async def inside() -> None:
        upstream = Upstream(endpoint, Limits())
        try:
            await work(Results(Calls(upstream), most, clock))
            assert upstream.admission.in_flight == 0
        finally:
            await upstream.close()

    asyncio.run(inside())


def call(of: LambdaSpec, form: Format = NDJSON, **given: Any) -> Call:
    entry = Entry.of(of)
    read = entry.signature.read({}, given, dt.datetime.now(dt.UTC))
    return Call(entry, read, form, "r1", entry.signature.now({}, given))


def test_equal_calls_share_an_answer_and_others_do_not(endpoint: Endpoint, clickhouse: ClickHouse, table: str) -> None:
    of = counting(table)

    async def work(results: Results) -> None:
        async def rows(call: Call, *, fresh: bool = False) -> bytes:
            return (await results.answer(call, fresh=fresh)).body

        clock: dict[str, Any] = {"as_of": "2020-01-01"}
        assert await rows(call(of, k="a")) == await rows(call(of, k="a", **clock)) == b'{"n":0}\n'
        clickhouse.insert(table, ["n"], [[1]])
        assert await rows(call(of, k="a")) == await rows(call(of, k="a", **clock)) == b'{"n":0}\n'
        others = [
            call(of, k="b"),
            call(of, k="a", as_of="2020-01-01T00:00:00.000001"),
            call(of, BY_SUFFIX["csv"], k="a"),
            call(counting(table, "other"), k="a"),
            call(counting(f"{table} AS t"), k="a"),  # another version
        ]
        assert [await rows(c) for c in others] == [b'{"n":1}\n'] * 2 + [b'"n"\n1\n'] + [b'{"n":1}\n'] * 2
        assert await rows(call(of, k="a"), fresh=True) == b'{"n":1}\n'
        assert await rows(call(of, k="a")) == b'{"n":1}\n'  # what was asked for anew is kept
        assert results.counted == {("counted", "hit"): 3, ("counted", "miss"): 7, ("other", "miss"): 1}

    run(endpoint, work)


def test_an_answer_has_its_age_and_its_end(endpoint: Endpoint, clickhouse: ClickHouse, table: str) -> None:
    now = 1000.0

    async def work(results: Results) -> None:
        nonlocal now
        short = counting(table, seconds=5)
        assert await results.answer(call(short, k="a")) == (b'{"n":0}\n', 0)
        clickhouse.insert(table, ["n"], [[1]])
        now += 4
        assert await results.answer(call(short, k="a")) == (b'{"n":0}\n', 4)
        now += 1
        assert await results.answer(call(short, k="a")) == (b'{"n":1}\n', 0)
        clickhouse.insert(table, ["n"], [[1]])
        results.clear()
        assert await results.answer(call(short, k="a")) == (b'{"n":2}\n', 0)

    run(endpoint, work, clock=lambda: now)


def test_a_query_that_began_too_long_ago_is_not_waited_for(endpoint: Endpoint) -> None:
    now = 1000.0
    slow = spec("slow", "SELECT sleep(0.1) AS n", PARAMS[:1], COLUMNS, cache_seconds=5)

    async def work(results: Results) -> None:
        nonlocal now
        first = asyncio.create_task(results.answer(call(slow, k="a")))
        await asyncio.sleep(0.01)
        now += 6
        found = await asyncio.gather(first, results.answer(call(slow, k="a")))
        assert [result.age for result in found] == [6, 0]
        assert results.counted == {("slow", "miss"): 2}
        assert (await results.answer(call(slow, k="a"))).age == 0  # the younger one is kept

    run(endpoint, work, clock=lambda: now)


def test_concurrent_equal_calls_are_one_query(endpoint: Endpoint) -> None:
    slow = spec("slow", "SELECT sleep(0.2) AS n, {k:String}", PARAMS[:1], COLUMNS, cache_seconds=60)

    async def work(results: Results) -> None:
        found = await asyncio.gather(*(results.answer(call(slow, k="a")) for _ in range(20)))
        assert {result.body for result in found} == {b'{"n":0,"\'a\'":"a"}\n'}
        assert results.counted == {("slow", "miss"): 1, ("slow", "joined"): 19}

    run(endpoint, work)


def test_one_that_leaves_takes_nobody_with_it(endpoint: Endpoint) -> None:
    slow = spec("slow", "SELECT sleep(0.2) AS n", PARAMS[:1], COLUMNS, cache_seconds=60)

    async def work(results: Results) -> None:
        first, second = (asyncio.create_task(results.answer(call(slow, k="a"))) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        assert (await second).body == b'{"n":0}\n'
        alone = asyncio.create_task(results.answer(call(slow, k="b")))
        await asyncio.sleep(0.05)
        alone.cancel()
        await asyncio.gather(first, alone, return_exceptions=True)
        assert (await results.answer(call(slow, k="b"))).body == b'{"n":0}\n'
        assert results.counted[("slow", "miss")] == 3  # the cancelled query's answer came from nowhere

    run(endpoint, work)


def test_an_error_is_not_kept_and_each_who_waits_has_it(endpoint: Endpoint, clickhouse: ClickHouse, table: str) -> None:
    throws = spec("throws", f"SELECT throwIf(count() = 0) AS n FROM {table}", PARAMS[:1], COLUMNS, cache_seconds=60)

    async def work(results: Results) -> None:
        asked = (results.answer(call(throws, k="a")) for _ in range(3))
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(error, QueryError) for error in found), found
        clickhouse.insert(table, ["n"], [[1]])
        assert (await results.answer(call(throws, k="a"))).body == b'{"n":0}\n'

    run(endpoint, work)


def test_what_was_asked_before_a_deploy_is_not_kept_after_it(endpoint: Endpoint) -> None:
    slow = spec("slow", "SELECT sleep(0.1) AS n", PARAMS[:1], COLUMNS, cache_seconds=60)

    async def work(results: Results) -> None:
        before = asyncio.create_task(results.answer(call(slow, k="a")))
        await asyncio.sleep(0.02)
        results.clear()
        after = asyncio.create_task(results.answer(call(slow, k="a")))
        await asyncio.gather(before, after)
        assert results.counted == {("slow", "miss"): 2}
        await results.answer(call(slow, k="a"))
        assert results.counted["slow", "hit"] == 1

    run(endpoint, work)


def test_memory_is_bounded_and_the_one_used_last_goes_last(endpoint: Endpoint) -> None:
    wide = spec("wide", "SELECT repeat({k:String}, 10000) AS n", PARAMS[:1], COLUMNS, cache_seconds=60)

    async def work(results: Results) -> None:
        for key in "abcabdefghia":
            await results.answer(call(wide, JSON, k=key))
            assert results.bytes <= 50_000
        assert results.counted == {("wide", "hit"): 2, ("wide", "miss"): 10}
        await results.answer(call(wide, JSON, k="i"))
        assert results.counted["wide", "hit"] == 3
        results.clear()
        assert results.bytes == 0

    run(endpoint, work, most=50_000)


def test_what_is_too_large_takes_nobodys_place(endpoint: Endpoint) -> None:
    wide = spec("wide", "SELECT repeat({k:String}, 10000) AS n", PARAMS[:1], COLUMNS, cache_seconds=60)

    async def work(results: Results) -> None:
        for key in ("a", "many", "a", "many"):
            await results.answer(call(wide, JSON, k=key))
        assert results.counted == {("wide", "miss"): 3, ("wide", "hit"): 1}

    run(endpoint, work, most=50_000)


def test_an_older_answer_never_takes_the_place_of_a_younger_one(endpoint: Endpoint) -> None:
    async def work(results: Results) -> None:  # as where the query that began first ends last
        for body, began in ((b"younger", 2.0), (b"older", 1.0)):
            results._keep("key", _Kept(body, began, 10))
        assert (results._kept["key"].body, results.bytes) == (b"younger", 10)

    run(endpoint, work)
