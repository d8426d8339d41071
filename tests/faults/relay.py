"""A way to ClickHouse that a test can cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.intake import Intake
from realtime.planner.ir import Plan


class Relay:
    """``lose`` answers are thrown away after ClickHouse has given them, and all answers to what holds ``losing``; what
    holds ``stopping`` is not handed on; ``cuts`` counts these."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.lose = 0
        self.losing = b""
        self.stopping = b""
        self.connections = 0
        self.cuts = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Endpoint]:
        """What it is reached at."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            yield Endpoint("127.0.0.1", port)

    async def _serve(self, reader: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        self.connections += 1
        back, forth = await asyncio.open_connection(self._endpoint.host, self._endpoint.port)
        lost = asyncio.Event()
        try:
            await asyncio.gather(self._pump(reader, forth, lost), self._answers(back, answer, lost))
        except (ConnectionError, _CutError):
            pass
        finally:
            for stream in (answer, forth):
                stream.close()

    async def _pump(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            if self.stopping and self.stopping in data:
                self.cuts += 1
                raise _CutError
            if self.losing and self.losing in data:
                lost.set()
            to.write(data)
            await to.drain()
        raise _CutError

    async def _answers(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            if self.lose:
                self.lose -= 1
                raise _CutError
            if lost.is_set():
                self.cuts += 1
                raise _CutError
            to.write(data)
            await to.drain()
        raise _CutError


class _CutError(Exception):
    pass


@contextlib.asynccontextmanager
async def near(relay: Relay, plan: Plan) -> AsyncIterator[Intake]:
    """An intake that reaches ClickHouse through ``relay``."""
    async with relay.open() as endpoint:
        intake = Intake(endpoint, plan)
        try:
            yield intake
        finally:
            await intake.close()


async def crash(relay: Relay, intake: Intake, source: str, body: bytes, key: str) -> None:
    """What the server does for this request ends as soon as the relay cuts something."""
    cuts = relay.cuts
    taking = asyncio.create_task(intake.take(source, body, idempotency_key=key))
    while relay.cuts == cuts:
        await asyncio.sleep(0.005)
    (running,) = (t for t in asyncio.all_tasks() if "Once._take" in repr(t.get_coro()))
    for task in (taking, running):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
