"""Concurrent calls: asked together, each answered as if it were alone."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import OverloadedError, UnavailableError
from realtime.planner.ir import CallLimits, Direct, Keyed, Member, Missing, Read, Together
from realtime.serving.calls import Call, Calls
from realtime.serving.failures import ComputationError
from realtime.serving.formats import BY_SUFFIX, JSON, Format
from realtime.serving.limits import Limits
from realtime.serving.pool import Reply
from realtime.serving.registry import Entry
from realtime.serving.upstream import Upstream
from tests.serving.plans import param, spec

NDJSON, CSV = BY_SUFFIX["ndjson"], BY_SUFFIX["csv"]
KEY = param("k", "VARCHAR")
COLUMNS = [("n", "INTEGER")]


class Counted(Upstream):
    """Notes what was sent, in order: the SQL and its parameters; and beside how many others each was."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        super().__init__(endpoint, limits)
        self.sent: list[tuple[bytes, str]] = []
        self.beside: list[int] = []

    async def call(
        self,
        name: str,
        select: bytes,
        parameters: str,
        form: str,
        request_id: str,
        own: CallLimits | None = None,
        traceparent: str = "",
    ) -> Reply:
        self.sent.append((select, parameters))
        self.beside.append(self.admission.in_flight - 1)
        return await super().call(name, select, parameters, form, request_id, own, traceparent)


def run(endpoint: Endpoint, work: Callable[[Calls, Counted], Awaitable[None]], limits: Limits | None = None) -> None:
    async def inside() -> None:
        upstream = Counted(endpoint, limits or Limits(at_once=1))
        try:
            await work(Calls(upstream), upstream)
            assert (upstream.admission.in_flight, upstream.admission.waiting) == (0, 0)
        finally:
            await upstream.close()

    asyncio.run(inside())


@pytest.fixture
def rows(clickhouse: ClickHouse, database: str) -> str:
    """A table of keys a to e, with as many rows as their place; sleeping a little shows what runs at once."""
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(f"CREATE TABLE {database}.t (k String, n Int32) ENGINE = MergeTree ORDER BY k")
    found = [[key, n] for place, key in enumerate("abcde", start=1) for n in range(place)]
    clickhouse.insert(f"{database}.t", ["k", "n"], found)
    return f"{database}.t"


def entry(table: str, missing: Missing = Missing.EMPTY, value: str = "n", group: str = "") -> Entry:
    """``SELECT value FROM table`` for one key and for many."""
    one = f"SELECT {value} AS n FROM {table} WHERE k = {{k:String}} AND sleep(0.05) = 0 ORDER BY n"
    many = f"SELECT {value} AS n, k AS __duet_key FROM {table} WHERE k IN {{k:Array(String)}} AND sleep(0.05) = 0"
    if missing is Missing.SAME:
        return Entry.of(spec("shown", one, [KEY], COLUMNS, keyed=Keyed("k", f"{many} GROUP BY k ORDER BY n", missing)))
    return Entry.of(spec("shown", one, [KEY], COLUMNS, keyed=Keyed("k", f"{many} ORDER BY n", missing)))


def call(which: Entry, form: Format = NDJSON, *, now: bool = False, **given: Any) -> Call:
    return Call(which, given, form, "r1", now)


async def answers(calls: Calls, which: Entry, keys: str, form: Format = NDJSON) -> list[Any]:
    return await asyncio.gather(*(calls.answer(call(which, form, k=k)) for k in keys), return_exceptions=True)


def lines(count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % n for n in range(count))


def test_what_waits_is_asked_together(endpoint: Endpoint, rows: str) -> None:
    async def work(calls: Calls, upstream: Counted) -> None:
        found = await answers(calls, entry(rows), "abcdeedcxa")
        assert found == [lines(n) for n in (1, 2, 3, 4, 5, 5, 4, 3, 0, 1)]
        assert len(upstream.sent) == 2  # a alone, at once; then all others, a again too: it was called later
        assert "%5B" in upstream.sent[1][1]
        assert await answers(calls, entry(rows), "b") == [lines(2)]
        assert len(upstream.sent) == 3

    run(endpoint, work)


def beside(endpoint: Endpoint, rows: str, slow: float) -> list[int]:
    """Two queries at once, then one for what waits, and a call that comes meanwhile."""
    found: list[int] = []

    async def work(calls: Calls, upstream: Counted) -> None:
        early = asyncio.create_task(answers(calls, entry(rows), "abcde"))
        while len(upstream.sent) < 3:
            await asyncio.sleep(0.001)
        assert await answers(calls, entry(rows), "d") == [lines(4)]
        assert await early == [lines(n) for n in (1, 2, 3, 4, 5)]
        found.extend(upstream.beside)

    run(endpoint, work, Limits(at_once=2, slow=slow))
    return found


def test_a_query_for_many_runs_alone(endpoint: Endpoint, rows: str) -> None:
    assert beside(endpoint, rows, slow=60) == [0, 1, 0, 0]


def test_no_call_waits_for_a_slow_query(endpoint: Endpoint, rows: str) -> None:
    assert beside(endpoint, rows, slow=0)[3] == 1


def test_a_state_that_a_deploy_dropped_is_not_missed(endpoint: Endpoint, rows: str) -> None:
    """Until a server knows the plan after it, it answers from read views."""

    async def work(calls: Calls, upstream: Counted) -> None:
        views, gone = entry(rows).spec, entry(f"{rows}_gone").spec
        member = Member("m", ("n",), required=True)
        together = Together(keys=("k",), members=(member,), select=gone.select, keyed=gone.keyed, state=f"{rows}_gone")
        stale = Entry.of(msgspec.structs.replace(views, together=together))
        assert await answers(calls, stale, "abcdx") == [lines(n) for n in (1, 2, 3, 4, 0)]
        assert len(upstream.sent) == 4
        direct = Direct(gone.select, gone.keyed.select if gone.keyed else "", (Read("m", f"{rows}_gone", ""),))
        past_views = Entry.of(msgspec.structs.replace(views, direct=direct))
        assert await answers(calls, past_views, "abcdx") == [lines(n) for n in (1, 2, 3, 4, 0)]
        assert len(upstream.sent) == 8
        bare = msgspec.structs.replace(views, keyed=None, together=together)
        assert await answers(calls, Entry.of(bare), "abcdx") == [lines(n) for n in (1, 2, 3, 4, 0)]

    run(endpoint, work)


def test_json_is_the_same_asked_alone_or_together(endpoint: Endpoint, rows: str) -> None:
    async def work(calls: Calls, upstream: Counted) -> None:
        found = [json.loads(body) for body in await answers(calls, entry(rows), "ccc", JSON)]
        for body in found:
            assert body.pop("statistics")["rows_read"] > 0
            assert body == {
                "meta": [{"name": "n", "type": "Nullable(Int32)"}], "data": [{"n": 0}, {"n": 1}, {"n": 2}], "rows": 3,
            }  # fmt: skip

    run(endpoint, work)


def test_other_formats_are_asked_alone_and_equal_calls_once(endpoint: Endpoint, rows: str) -> None:
    async def work(calls: Calls, upstream: Counted) -> None:
        found = await answers(calls, entry(rows), "abbbb", CSV)
        assert found == [b'"n"\n0\n', *[b'"n"\n0\n1\n'] * 4]
        assert len(upstream.sent) == 3  # a and the first b at once; then all other b, which were called later

    run(endpoint, work)


def test_a_key_without_rows_of_an_aggregate(endpoint: Endpoint, rows: str) -> None:
    async def work(calls: Calls, upstream: Counted) -> None:
        found = await answers(calls, entry(rows, Missing.SAME, "count()"), "abxyz")
        assert found == [b'{"n":%d}\n' % n for n in (1, 2, 0, 0, 0)]
        assert len(upstream.sent) == 3  # a; the others; one of the three that had no row
        found = await answers(calls, entry(rows, Missing.ASK), "abxyz")
        assert found == [lines(n) for n in (1, 2, 0, 0, 0)]
        assert len(upstream.sent) == 8  # each of the three by itself

    run(endpoint, work)


def test_one_key_that_fails_fails_alone(endpoint: Endpoint, rows: str) -> None:
    which = entry(rows, value="throwIf(k = 'c', 'secret') + n")

    async def work(calls: Calls, upstream: Counted) -> None:
        found = await answers(calls, which, "abcde")
        assert [type(f) for f in found] == [bytes, bytes, ComputationError, bytes, bytes]
        assert [f for f in found if isinstance(f, bytes)] == [lines(n) for n in (1, 2, 4, 5)]
        assert "secret" not in str(found[2])

    run(endpoint, work)


def test_a_call_sees_what_was_there_when_it_came(endpoint: Endpoint, clickhouse: ClickHouse, rows: str) -> None:
    async def work(calls: Calls, upstream: Counted) -> None:
        early = asyncio.create_task(calls.answer(call(entry(rows), k="a")))
        await asyncio.sleep(0.01)  # the first query runs
        await asyncio.to_thread(clickhouse.insert, rows, ["k", "n"], [["a", 1]])
        assert await calls.answer(call(entry(rows), k="a")) == lines(2)
        assert await early in (lines(1), lines(2))

    run(endpoint, work)


def test_the_clock_is_read_when_the_query_begins(endpoint: Endpoint) -> None:
    select = "SELECT toUnixTimestamp64Micro({as_of:DateTime64(6, 'UTC')}) AS n FROM system.one WHERE sleep(0.05) = 0"
    which = Entry.of(spec("moment", select, [param("as_of", "TIMESTAMP", required=False)], [("n", "BIGINT")]))

    async def work(calls: Calls, upstream: Counted) -> None:
        def ask(now: bool) -> Awaitable[bytes]:
            moment = dt.datetime.now(dt.UTC).replace(tzinfo=None) if now else dt.datetime(2020, 1, 1)
            return calls.answer(call(which, now=now, as_of=moment))

        begun = dt.datetime.now(dt.UTC).timestamp()
        found = await asyncio.gather(*(ask(now=True) for _ in range(4)), *(ask(now=False) for _ in range(3)))
        moments = [json.loads(body)["n"] / 1e6 for body in found]
        assert moments[4:] == [dt.datetime(2020, 1, 1, tzinfo=dt.UTC).timestamp()] * 3
        assert begun - 1e-3 <= moments[0] <= moments[1] == moments[2] == moments[3]
        assert len(upstream.sent) == 4

    run(endpoint, work)


def test_who_leaves_takes_nobody_along(endpoint: Endpoint, rows: str) -> None:
    async def work(calls: Calls, upstream: Counted) -> None:
        which = entry(rows)
        tasks = [asyncio.create_task(calls.answer(call(which, k=k))) for k in "abcde"]
        await asyncio.sleep(0.01)
        for left in (tasks[0], tasks[2]):  # one whose query runs, one that waits
            left.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(f) for f in found[::2]] == [asyncio.CancelledError, asyncio.CancelledError, bytes]
        assert (found[1], found[3], found[4]) == (lines(2), lines(4), lines(5))
        assert calls.waiting == 0

    run(endpoint, work)


def test_too_many_that_wait_are_refused_at_once(endpoint: Endpoint, rows: str) -> None:
    async def work(calls: Calls, upstream: Counted) -> None:
        found = await answers(calls, entry(rows), "abcde")
        assert [type(f) for f in found] == [bytes, bytes, bytes, OverloadedError, OverloadedError]

    run(endpoint, work, Limits(at_once=1, waiting=2))


def test_many_keys_of_long_texts(endpoint: Endpoint, rows: str) -> None:
    keys = ["a", *(letter * 3000 for letter in "éü漢字"), "b", "c"]

    async def work(calls: Calls, upstream: Counted) -> None:
        which = entry(rows)
        found = await asyncio.gather(*(calls.answer(call(which, k=k)) for k in keys))
        assert found == [lines(1), b"", b"", b"", b"", lines(2), lines(3)]

    run(endpoint, work, Limits(at_once=1, parameters=40_000))


def test_a_server_that_is_down_is_told_to_all(rows: str) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))

        async def work(calls: Calls, upstream: Counted) -> None:
            found = await answers(calls, entry(rows), "abcde")
            assert [type(f) for f in found] == [UnavailableError] * 5

        run(Endpoint("127.0.0.1", taken.getsockname()[1]), work)


def test_a_lambda_runs_no_more_queries_than_it_may(endpoint: Endpoint) -> None:
    alone = spec("alone", "SELECT sleep(0.1) AS n, {k:String}", [KEY], COLUMNS, limits=CallLimits(concurrency=2))
    slow, quick = Entry.of(alone), Entry.of(spec("quick", "SELECT 1 AS n", [], COLUMNS))

    async def work(calls: Calls, upstream: Counted) -> None:
        asked = asyncio.gather(*(calls.answer(call(slow, k=k)) for k in "abcdef"), return_exceptions=True)
        await asyncio.sleep(0.02)
        assert upstream.admission.in_flight == 2
        assert await calls.answer(call(quick)) == b'{"n":1}\n'  # others are not held up
        assert len(upstream.sent) == 3
        found = await asked
        # Two run, three wait (a quarter of twelve), one is told to come again.
        refused = [error for error in found if isinstance(error, OverloadedError)]
        assert sum(isinstance(answer, bytes) for answer in found) == 5
        assert refused[0].details == {"lambda": "alone", "limit": {"concurrency": 2}}

    run(endpoint, work, Limits(at_once=4, in_flight=8, waiting=12))
