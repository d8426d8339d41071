"""How many queries run at a time: the others wait in order, and beyond that are refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from realtime.errors import OverloadedError
from realtime.serving.limits import Limits


class Admission:
    """``in_flight`` and ``waiting`` count calls; OverloadedError where the queue is full or the wait too long."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.in_flight)
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
            self._slots.release()

    async def _wait(self) -> None:
        if self.waiting >= self._limits.waiting:
            raise OverloadedError(f"{self.waiting} calls are waiting already", remedy="try again in a second")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise OverloadedError("the call waited too long for its turn", remedy="try again in a second") from None
        finally:
            self.waiting -= 1
