"""Concurrent calls of one lambda, answered by few queries: what waits for its turn together is asked together.

Nothing waits in order to meet others: a call that finds nothing of its lambda running is a query at once, and one that
finds a single call's query is the second (up to `Limits.at_once`). The calls that come while more than that runs are
one query when it ends: one for all keys where the lambda has such a form (`realtime.planner.keyed`), and equal calls
are one in any case. A query for many runs alone, for two that share the calls cost a third more; the next begins beside
it only where it is slow. A query never began before a call that it answers, so a caller sees all that was there when it
called.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from realtime.errors import DuetError, OverloadedError
from realtime.planner.ir import AS_OF, LambdaSpec, Missing
from realtime.serving.admission import Admission, Nested
from realtime.serving.answers import answer, by_key, row_count, source_format
from realtime.serving.failures import (
    AwayError,
    GoneError,
    OutOfMemoryError,
    QueryError,
    QueryTimeoutError,
    RequestTooLargeError,
    TooManyRowsError,
)
from realtime.serving.formats import BY_SUFFIX, JSON, Format
from realtime.serving.pages import After, Page, cut_page, rows_of
from realtime.serving.pool import Reply
from realtime.serving.registry import Entry
from realtime.serving.traces import Asked, Traces
from realtime.serving.upstream import Upstream

_LINES = (JSON, BY_SUFFIX["ndjson"])
_KEYS = 512
"""The most keys of one query."""


_HEAVY_FOR = 10.0
"""Seconds for which many rows are not tried to be read again, where states answer the same."""


@dataclasses.dataclass(frozen=True)
class Call:
    """``given`` is what `Signature.read` returned; ``now`` says that ``as_of`` is the server's clock, and so whenever
    the query begins; ``after`` is where a page begins that is not the first. What becomes of it is noted in ``asked``.
    """

    entry: Entry
    given: Mapping[str, Any]
    form: Format
    request_id: str
    now: bool
    asked: Asked = dataclasses.field(default_factory=Asked)
    after: After | None = None


class _Queue:
    """Calls that differ in nothing but their key: the waiting ones by their key's text."""

    def __init__(self, admission: Admission | Nested) -> None:
        self.admission = admission
        self.running = 0
        self.many = 0
        """Queries for more than one key among those that run."""
        self.begun = 0.0
        """When the last one began, by the loop's clock."""
        self.timer: asyncio.TimerHandle | None = None
        self.waiting: dict[str, list[tuple[Call, asyncio.Future[bytes]]]] = {}


class Calls:
    """Answers calls through ``upstream``, with ``traces`` of its queries."""

    def __init__(self, upstream: Upstream, traces: Traces | None = None) -> None:
        self._upstream = upstream
        self._traces = traces
        self._limits = upstream.limits
        self._queues: dict[tuple[str, ...], _Queue] = {}
        self._turns: dict[tuple[str, int], Nested] = {}
        self._runners: set[asyncio.Task[None]] = set()
        self._heavy: dict[bytes, float] = {}
        """Queries over states, each with the time until which it is asked first: there were many rows instead."""
        self.waiting = 0
        """Calls that wait for their turn."""

    async def answer(self, call: Call) -> bytes:
        """The body of the answer; OverloadedError, UnavailableError or what `realtime.serving.failures` lists."""
        group, key = _group(call)
        queue = self._queues.get(group)
        if queue is None:
            queue = self._queues[group] = _Queue(self._admission(call.entry.spec))
        admission = queue.admission
        if not queue.waiting and self._may_begin(queue) and not admission.full:
            self._begins(queue)
            try:
                async with admission.admitted():
                    return await self._one([call])
            finally:
                self._ended(group, queue)
        if self.waiting >= self._limits.waiting:
            raise OverloadedError(f"{self.waiting} calls are waiting already", remedy="try again in a second")
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        queue.waiting.setdefault(key, []).append((call, future))
        self._start(group, queue)
        self.waiting += 1
        try:
            return await future
        finally:
            self.waiting -= 1

    def _admission(self, spec: LambdaSpec) -> Admission | Nested:
        """Where queries of ``spec`` take their turns."""
        server = self._upstream.admission
        if spec.limits is None or not spec.limits.concurrency:
            return server
        found = self._turns.get((spec.name, spec.limits.concurrency))
        if found is None:
            own = Admission(dataclasses.replace(self._limits.of(spec.limits), seconds=self._limits.seconds), spec.name)
            found = self._turns[spec.name, spec.limits.concurrency] = Nested(own, server)
        return found

    def _may_begin(self, queue: _Queue) -> bool:
        """Whether another query may run beside those that do."""
        if not queue.running:
            return True
        if queue.running >= self._limits.at_once:
            return False
        alone = not queue.many and len(queue.waiting) <= 1
        return alone or asyncio.get_running_loop().time() - queue.begun >= self._limits.slow

    def _begins(self, queue: _Queue) -> None:
        queue.running += 1
        queue.begun = asyncio.get_running_loop().time()

    def _start(self, group: tuple[str, ...], queue: _Queue) -> None:
        """Lets another query answer what waits, where one more may run; else looks again when that has become slow."""
        if not queue.waiting:
            return
        if self._may_begin(queue):
            self._begins(queue)
            runner = asyncio.create_task(self._run(group, queue))
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)
        elif queue.timer is None and queue.running < self._limits.at_once:
            queue.timer = asyncio.get_running_loop().call_later(self._limits.slow, self._look_again, group, queue)

    def _look_again(self, group: tuple[str, ...], queue: _Queue) -> None:
        queue.timer = None
        self._start(group, queue)

    def _ended(self, group: tuple[str, ...], queue: _Queue) -> None:
        queue.running -= 1
        self._start(group, queue)
        if not queue.running and not queue.waiting:
            if queue.timer is not None:
                queue.timer.cancel()
            del self._queues[group]

    async def _run(self, group: tuple[str, ...], queue: _Queue) -> None:
        """One query for what waits by the time it may begin."""
        taken: list[list[tuple[Call, asyncio.Future[bytes]]]] = []
        many = 0
        try:
            async with queue.admission.admitted():
                taken = [w for w in (_present(w) for w in _take(queue)) if w]
                many = int(len(taken) > 1)
                queue.many += many
                if taken:
                    await self._many(taken)
        except Exception as error:  # whoever waits is told, whatever it is
            taken = taken or [_present(w) for w in _take(queue)]
            _settle([pair for waiters in taken for pair in waiters], error)
        finally:
            queue.many -= many
            self._ended(group, queue)

    async def _many(self, taken: list[list[tuple[Call, asyncio.Future[bytes]]]]) -> None:
        """Answers all of ``taken``, each a list of equal calls."""
        first = taken[0][0][0]
        if len(taken) == 1:
            _settle(taken[0], await self._one(_calls(taken[0])))
            return
        keyed = first.entry.keyed
        assert keyed is not None
        keys = [waiters[0][0].given[keyed.param] for waiters in taken]
        parameters = first.entry.signature.encode_many(_clocked(first), keyed.param, keys) + _of_page(first)
        try:
            calls = [call for waiters in taken for call in _calls(waiters)]
            reply = await self._ask(calls, first.entry.many, parameters, "JSONEachRow", len(keys))
        except (QueryError, RequestTooLargeError) as error:  # one key may fail, or all together be too much
            if isinstance(error, (AwayError, GoneError)) and first.entry.views is not None:
                await self._from_views(taken, first.entry.views)
                return
            middle = len(taken) // 2
            for half in (taken[:middle], taken[middle:]):
                await (self._many(half) if len(half) > 1 else self._alone(half[0]))
            return
        rows = by_key(reply.body)
        lacking = []
        for key, waiters in zip(keys, taken, strict=True):
            found = rows.get(str(key), b"")
            if found or keyed.missing is Missing.EMPTY:
                _settle(waiters, _outcome(_calls(waiters), found, reply))
            else:
                lacking.append(waiters)
        await self._lacking(lacking, keyed.missing)

    async def _from_views(self, taken: list[list[tuple[Call, asyncio.Future[bytes]]]], views: Entry) -> None:
        """Answers ``taken`` from read views: a deploy dropped the state that their models shared."""
        moved = [[(dataclasses.replace(call, entry=views), waiting) for call, waiting in w] for w in taken]
        if views.keyed is not None:
            await self._many(moved)
            return
        for waiters in moved:
            await self._alone(waiters)

    async def _lacking(self, lacking: list[list[tuple[Call, asyncio.Future[bytes]]]], missing: Missing) -> None:
        """Answers keys of which the query for many had no row."""
        if missing is Missing.SAME and lacking:
            lacking = [[pair for waiters in lacking for pair in waiters]]
        for waiters in lacking:
            await self._alone(waiters)

    async def _alone(self, waiters: list[tuple[Call, asyncio.Future[bytes]]]) -> None:
        """One query for equal calls."""
        try:
            _settle(waiters, await self._one(_calls(waiters)))
        except DuetError as error:
            _settle(waiters, error)

    async def _one(self, calls: Sequence[Call]) -> bytes:
        """The answer to ``calls``, which are equal."""
        call, entry = calls[0], calls[0].entry
        parameters = entry.signature.encode(_clocked(call)) + _of_page(call)
        queries = entry.after if call.after is not None else entry.one
        try:
            reply = await self._ask(calls, queries, parameters, source_format(call.form))
        except (AwayError, GoneError):  # a deploy dropped the state that its models shared
            if entry.views is None:
                raise
            return await self._one([dataclasses.replace(call, entry=entry.views) for call in calls])
        return _body(calls, reply.body, reply)

    async def _ask(
        self, calls: Sequence[Call], queries: Sequence[bytes], parameters: str, form: str, keys: int = 1
    ) -> Reply:
        """The reply to one of ``queries``, that over states and that over rows, for ``keys`` keys: rows answer while
        there are few to read, which takes less than to merge states, and where states can't (one may be gone already,
        or hold a row that the call does not ask for and on which an expression fails). Where an index finds the nearest
        rows, all are read if it leaves too few."""
        spec, request_id = calls[0].entry.spec, calls[0].request_id
        for call in calls:
            call.asked.batch = len(calls)

        async def sent(select: bytes, also: str = "") -> Reply:
            given = spec.name, select, parameters + also, form, request_id, spec.limits
            if self._traces is None:
                return await self._upstream.call(*given)
            with self._traces.query(spec.name, spec.version, [call.asked for call in calls]) as traceparent:
                return await self._upstream.call(*given, traceparent)

        if spec.nearest is not None:
            found = await sent(queries[0])
            asked = int(calls[0].given[spec.nearest.param]) if spec.nearest.param else spec.nearest.rows
            return found if row_count(found) >= asked else await sent(queries[1])
        (*states, rows), now = queries, asyncio.get_running_loop().time()
        if not states:
            return await sent(rows)
        if now >= self._heavy.get(states[0], 0):
            try:
                return await sent(rows, f"&max_rows_to_read={self._limits.light * keys}")
            except TooManyRowsError:
                self._heavy[states[0]] = now + _HEAVY_FOR
        try:
            return await sent(states[0])
        except QueryError as error:
            if isinstance(error, (QueryTimeoutError, TooManyRowsError, OutOfMemoryError)):
                raise
            return await sent(rows)


def _group(call: Call) -> tuple[tuple[str, ...], str]:
    """What calls that are asked together have in common, and the key by which they may differ."""
    spec, given = call.entry.spec, call.given
    keyed = call.entry.keyed if call.form in _LINES and call.after is None else None
    rest = dict(given)
    key = rest.pop(keyed.param) if keyed is not None else None
    if call.now:
        rest.pop(AS_OF)
    form = call.form.suffix
    return (spec.name, spec.version, form, str(call.now), repr(rest)), str(key)


def _clocked(call: Call) -> Mapping[str, Any]:
    """What is bound: the clock as it is when the query begins."""
    if not call.now:
        return call.given
    then = call.given[AS_OF]
    return {**call.given, AS_OF: max(then, dt.datetime.now(dt.UTC).replace(tzinfo=then.tzinfo))}


def _of_page(call: Call) -> str:
    """The bound parameters of a page; none where it answers in no pages."""
    spec = call.entry.spec
    if spec.paging is None:
        return ""
    return rows_of(call.given) + (call.after.encode(spec) if call.after is not None else "")


def _calls(waiters: list[tuple[Call, asyncio.Future[bytes]]]) -> list[Call]:
    return [call for call, _ in waiters]


def _body(calls: Sequence[Call], lines: bytes, reply: Reply) -> bytes:
    """The answer to ``calls``, which are equal but for their key."""
    call, cut = calls[0], None
    if call.entry.spec.paging is not None:
        carried = call.now or (call.after is not None and call.after.carried)
        cut = cut_page(call.entry.spec, call.entry.signature, call.given, call.form, lines, carried=carried)
        lines = cut.rows
    if call.form in _LINES:
        rows = lines.count(b"\n")
        for each in calls:
            each.asked.rows = rows
    body = answer(call.form, call.entry.meta, lines, reply, cut.cursor if cut is not None else None)
    return body if cut is None else Page.of(body, cut)


def _outcome(calls: Sequence[Call], lines: bytes, reply: Reply) -> bytes | DuetError:
    """As `_body`; what of one key can't be answered keeps no other from its answer."""
    try:
        return _body(calls, lines, reply)
    except DuetError as error:
        return error


def _take(queue: _Queue) -> list[list[tuple[Call, asyncio.Future[bytes]]]]:
    """The first that wait, taken out of ``queue``."""
    keys = list(queue.waiting)[:_KEYS]
    return [queue.waiting.pop(key) for key in keys]


def _present(waiters: list[tuple[Call, asyncio.Future[bytes]]]) -> list[tuple[Call, asyncio.Future[bytes]]]:
    """Those that have not left."""
    return [pair for pair in waiters if not pair[1].done()]


def _settle(waiters: list[tuple[Call, asyncio.Future[bytes]]], found: bytes | Exception) -> None:
    """Tells ``waiters``, after the next query has begun: to write their answers takes as long as a query."""
    asyncio.get_running_loop().call_soon(_tell, waiters, found)


def _tell(waiters: list[tuple[Call, asyncio.Future[bytes]]], found: bytes | Exception) -> None:
    for _, future in waiters:
        if future.done():
            continue
        if isinstance(found, bytes):
            future.set_result(found)
        else:
            future.set_exception(found)
