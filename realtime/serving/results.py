"""Answers that are used again, for lambdas whose author allows it (``meta.lambda.cache``).

An answer belongs to a version, a format and all parameters, those that a token fixes among them. A clock that is left
to the server is no part of it, so such an answer is that of a moment up to ``cache_seconds`` ago. Equal calls that
come while one of them is answered wait for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from realtime.planner.ir import AS_OF
from realtime.serving.calls import Call, Calls

_OVERHEAD = 512
"""Bytes that an answer takes beside its body and its key, about."""
_LARGEST = 4
"""What takes more than this part of the room is not kept."""


class Result(NamedTuple):
    """An answer's body, and the seconds since its query began."""

    body: bytes
    age: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    began: float
    size: int


@dataclasses.dataclass(slots=True)
class _Flight:
    """A query that ``waiting`` calls wait for."""

    task: asyncio.Task[_Kept]
    began: float
    waiting: int = 0


class Results:
    """Keeps answers of ``calls``, ``most`` bytes of them; those that were not used for longest go first. ``clock``
    gives seconds."""

    def __init__(self, calls: Calls, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls = calls
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._flights: dict[Hashable, _Flight] = {}
        self._generation = 0
        self.bytes = 0
        """What is kept takes."""
        self.counted: Counter[tuple[str, str]] = Counter()
        """Calls by lambda and ``hit``, ``joined`` or ``miss``."""

    async def answer(self, call: Call, *, fresh: bool = False) -> Result:
        """The answer to ``call``; errors as of `Calls.answer`. ``fresh`` asks for one of now."""
        key, spec, now = _key(call), call.entry.spec, self._clock()
        oldest = now if fresh else now - spec.cache_seconds
        kept, flight = self._kept.get(key), self._flights.get(key)
        if kept is not None and kept.began > oldest:
            self._kept.move_to_end(key)
            self.counted[spec.name, "hit"] += 1
            return Result(kept.body, now - kept.began)
        if flight is not None and flight.began > oldest:
            self.counted[spec.name, "joined"] += 1
        else:
            self.counted[spec.name, "miss"] += 1
            flight = self._flights[key] = _Flight(asyncio.create_task(self._ask(key, call, now)), now)
            flight.task.add_done_callback(functools.partial(self._landed, key, flight))
        found = await self._wait(key, flight)
        return Result(found.body, self._clock() - found.began)

    def clear(self) -> None:
        """Forgets everything, also what is being asked for: what the lambdas read may be another version now."""
        self._generation += 1
        self._kept.clear()
        self._flights.clear()
        self.bytes = 0

    async def _wait(self, key: Hashable, flight: _Flight) -> _Kept:
        """What ``flight`` brings; its query ends where nobody waits for it any more."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._landed(key, flight)
                flight.task.cancel()

    def _landed(self, key: Hashable, flight: _Flight, task: asyncio.Task[_Kept] | None = None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if task is not None and not task.cancelled():
            task.exception()  # it was seen: whoever waited has it

    async def _ask(self, key: Hashable, call: Call, began: float) -> _Kept:
        generation = self._generation
        body = await self._calls.answer(call)
        found = _Kept(body, began, len(body) + len(repr(key)) + _OVERHEAD)
        if generation == self._generation and self._clock() - began < call.entry.spec.cache_seconds:
            self._keep(key, found)
        return found

    def _keep(self, key: Hashable, found: _Kept) -> None:
        """Keeps ``found``, unless a younger one is there or it would take the place of too many others."""
        before = self._kept.get(key)
        if found.size > self._most // _LARGEST or (before is not None and before.began > found.began):
            return
        self.bytes += found.size - (before.size if before is not None else 0)
        self._kept[key] = found
        self._kept.move_to_end(key)
        while self.bytes > self._most:
            self.bytes -= self._kept.popitem(last=False)[1].size


def _key(call: Call) -> Hashable:
    given = {name: value for name, value in call.given.items() if name != AS_OF} if call.now else call.given
    spec = call.entry.spec
    return spec.name, spec.version, call.form.suffix, repr(given)
