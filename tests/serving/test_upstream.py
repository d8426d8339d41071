"""The limits of a call, and that queries do not outlive who asked."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import DuetError, OverloadedError, UnavailableError
from realtime.planner.ir import CallLimits
from realtime.serving.failures import ComputationError, OutOfMemoryError, QueryTimeoutError, TooManyRowsError
from realtime.serving.limits import Limits
from realtime.serving.upstream import Upstream

ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = {tag}"


def _with(endpoint: Endpoint, limits: Limits, work: Callable[[Upstream], Awaitable[None]]) -> None:
    async def run() -> None:
        upstream = Upstream(endpoint, limits)
        try:
            await work(upstream)
        finally:
            await upstream.close()

    asyncio.run(run())


async def _call(upstream: Upstream, select: str) -> bytes:
    async with upstream.admission.admitted():
        return (await upstream.call("shown", select.encode(), "", "JSONEachRow", "r1")).body


@pytest.mark.parametrize(
    ("select", "limits", "error"),
    [
        ("SELECT number FROM numbers(11)", Limits(rows=10), TooManyRowsError),
        ("SELECT repeat('x', 100000) FROM numbers(100)", Limits(bytes=1_000_000), TooManyRowsError),
        ("SELECT repeat(toString(number), 100000) FROM numbers(100)", Limits(bytes=1_000_000), TooManyRowsError),
        (
            "SELECT throwIf(number = 50000) FROM numbers(60000) SETTINGS max_block_size = 1000",
            Limits(),
            ComputationError,
        ),
        (ENDLESS.format(tag=1), Limits(seconds=0.3), QueryTimeoutError),
        (
            "SELECT uniqExact(number) FROM numbers(10000000) SETTINGS max_memory_usage = 10000000",
            Limits(),
            OutOfMemoryError,
        ),
    ],
)
def test_what_a_call_may_take(endpoint: Endpoint, select: str, limits: Limits, error: type[DuetError]) -> None:
    async def work(upstream: Upstream) -> None:
        assert await _call(upstream, "SELECT 1 AS a") == b'{"a":1}\n'
        with pytest.raises(error) as found:
            await _call(upstream, select)
        assert "ClickHouse" not in str(found.value)
        assert await _call(upstream, "SELECT 1 AS a") == b'{"a":1}\n'

    _with(endpoint, limits, work)


@pytest.mark.parametrize(
    ("select", "own", "error", "limit"),
    [
        ("SELECT number FROM numbers(11)", CallLimits(rows=10), TooManyRowsError, {"rows": 10, "megabytes": 64}),
        (ENDLESS.format(tag=2), CallLimits(seconds=0.3), QueryTimeoutError, {"seconds": 0.3}),
        (
            "SELECT uniqExact(number) FROM numbers(10000000)",
            CallLimits(megabytes=10),
            OutOfMemoryError,
            {"megabytes": 10},
        ),
    ],
)
def test_a_lambda_has_its_own_limits(
    endpoint: Endpoint, select: str, own: CallLimits, error: type[DuetError], limit: dict[str, float]
) -> None:
    async def work(upstream: Upstream) -> None:
        with pytest.raises(error) as found:
            await upstream.call("shown", select.encode(), "", "JSONEachRow", "r1", own)
        assert (found.value.details, bool(found.value.remedy)) == ({"lambda": "shown", "limit": limit}, True)
        rows = await upstream.call("shown", b"SELECT number FROM numbers(11)", "", "JSONEachRow", "r1")
        assert rows.body.count(b"\n") == 11  # others have the server's

    _with(endpoint, Limits(), work)


def test_a_lambda_may_have_wider_limits(endpoint: Endpoint) -> None:
    async def work(upstream: Upstream) -> None:
        select, wider = b"SELECT sleepEachRow(0.3), number FROM numbers(2)", CallLimits(seconds=5, rows=2)
        with pytest.raises(DuetError):
            await upstream.call("shown", select, "", "JSONEachRow", "r1")
        assert (await upstream.call("shown", select, "", "JSONEachRow", "r1", wider)).body.count(b"\n") == 2

    _with(endpoint, Limits(seconds=0.2, rows=1), work)


def test_a_query_can_only_read(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(f"CREATE TABLE {database}.t (a Int32) ENGINE = Memory")

    async def work(upstream: Upstream) -> None:
        for statement in (f"INSERT INTO {database}.t VALUES (1)", f"DROP TABLE {database}.t", "SELECT 1; SELECT 2"):
            with pytest.raises(DuetError):
                await _call(upstream, statement)
        assert await _call(upstream, f"SELECT count() AS n FROM {database}.t") == b'{"n":0}\n'

    _with(endpoint, Limits(), work)


def test_no_more_run_than_are_admitted_and_the_rest_waits_or_is_refused(endpoint: Endpoint) -> None:
    limits = Limits(in_flight=2, waiting=3)

    async def work(upstream: Upstream) -> None:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, upstream.admission.in_flight)
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        calls = [_call(upstream, "SELECT sleep(0.2)") for _ in range(7)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        watching.cancel()
        assert most == 2
        assert [type(f) for f in found if isinstance(f, BaseException)] == [OverloadedError, OverloadedError]
        assert (upstream.admission.in_flight, upstream.admission.waiting) == (0, 0)

    _with(endpoint, limits, work)


def test_waiting_has_an_end(endpoint: Endpoint) -> None:
    async def work(upstream: Upstream) -> None:
        upstream.admission._limits = dataclasses.replace(upstream.limits, seconds=0.1)
        running = asyncio.create_task(_call(upstream, "SELECT sleep(0.5)"))
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError, match="waited too long"):
            await _call(upstream, "SELECT 1")
        await running

    _with(endpoint, Limits(in_flight=1), work)


def test_a_cancelled_call_ends_its_query(endpoint: Endpoint, clickhouse: ClickHouse) -> None:
    tag = time.time_ns()
    running = f"SELECT count() FROM system.processes WHERE query LIKE '%= {tag}%' AND query NOT LIKE '%processes%'"

    async def work(upstream: Upstream) -> None:
        call = asyncio.create_task(_call(upstream, ENDLESS.format(tag=tag)))
        while not await asyncio.to_thread(clickhouse.value, running):
            await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert upstream.admission.in_flight == 0
        async with asyncio.timeout(5):
            while await asyncio.to_thread(clickhouse.value, running):
                await asyncio.sleep(0.02)

    _with(endpoint, Limits(), work)


def test_a_server_that_is_down(endpoint: Endpoint) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))

        async def work(upstream: Upstream) -> None:
            with pytest.raises(UnavailableError, match="does not answer"):
                await _call(upstream, "SELECT 1")

        _with(Endpoint("127.0.0.1", taken.getsockname()[1]), Limits(), work)
