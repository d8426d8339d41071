"""How many queries run at a time: the others wait in order, and beyond that are refused. Inserts go first."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from realtime.errors import OverloadedError
from realtime.serving.limits import Limits


class Admission:
    """``in_flight`` and ``waiting`` count calls; OverloadedError where the queue is full or the wait too long.

    ``of`` is the lambda whose turns these are; empty for those of the server.
    """

    def __init__(self, limits: Limits, of: str = "") -> None:
        self._limits = limits
        self._of = of
        self._slots = asyncio.Semaphore(limits.in_flight)
        self._ahead = 0
        self._owed = 0
        self.in_flight = 0
        self.waiting = 0

    @property
    def full(self) -> bool:
        """Whether another query would have to wait."""
        return self._slots.locked()

    @contextlib.asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Holds a slot while its body runs."""
        if self.full:
            await self._wait()
        else:
            await self._slots.acquire()
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._release()

    @contextlib.asynccontextmanager
    async def ahead(self) -> AsyncIterator[None]:
        """Takes a slot at once, whoever waits: the next one that is given back, where none is free. One is left for
        calls, however many do this."""
        counts = self._ahead < self._limits.in_flight - 1
        if counts:
            self._ahead += 1
            if self.full:
                self._owed += 1
            else:
                await self._slots.acquire()
        try:
            yield
        finally:
            if counts:
                self._ahead -= 1
                self._release()

    def _release(self) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._slots.release()

    async def _wait(self) -> None:
        if self.waiting >= self._limits.waiting:
            raise self._refused(f"{self.waiting} calls are waiting already")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise self._refused("the call waited too long for its turn") from None
        finally:
            self.waiting -= 1

    def _refused(self, what: str) -> OverloadedError:
        if not self._of:
            return OverloadedError(what, remedy="try again in a second")
        details: dict[str, Any] = {"lambda": self._of, "limit": {"concurrency": self._limits.in_flight}}
        return OverloadedError(f"lambda {self._of}: {what}", remedy="try again in a second", **details)


@dataclasses.dataclass(frozen=True)
class Nested:
    """The ``own`` turns of a lambda, each of which waits for one of the ``server``'s."""

    own: Admission
    server: Admission

    @property
    def full(self) -> bool:
        """Whether another query would have to wait."""
        return self.own.full or self.server.full

    @contextlib.asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Holds a slot of both while its body runs."""
        async with self.own.admitted(), self.server.admitted():
            yield
