"""Notices a caller that leaves before its answer."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

_AFTER = 0.05


class Departure:
    """``async with Departure(receive)``: the body is cancelled when the caller leaves; then ``happened`` is true
    and the block ends quietly. The request's body must have been received.

    The watch begins after 50 ms: most answers are there before, and a watching task costs a tenth of such a call.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None
        self.happened = False

    async def __aenter__(self) -> Self:
        self._request = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_AFTER, self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if not self.happened or self._request is None:
            return False
        self._request.uncancel()
        return kind is asyncio.CancelledError

    def _start(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.happened = True
        if self._request is not None:
            self._request.cancel()
