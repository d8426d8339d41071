"""A way to ClickHouse that a test can cut."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NoReturn

from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.intake import Intake
from realtime.planner.ir import Plan


class Relay:
    """``lose`` answers are thrown away after ClickHouse has given them, and all answers to what holds ``losing``; what
    holds ``stopping`` is not handed on; what holds ``keeping`` is when `deliver` says so, though its sender is cut off;
    what holds ``holding`` waits; of what holds ``halving`` the first half is handed on, and then the connection ends;
    while ``hanging``, nothing moves either way; answers come ``slow`` seconds later. ``cuts`` counts what was cut."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.lose = 0
        self.losing = b""
        self.stopping = b""
        self.halving = b""
        self.keeping = b""
        self.holding = b""
        self.held = 0
        self._kept = b""
        self.hanging = False
        self.slow = 0.0
        self.connections = 0
        self.cuts = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Endpoint]:
        """What it is reached at."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            yield Endpoint("127.0.0.1", port)

    @contextlib.contextmanager
    def thread(self) -> Iterator[Endpoint]:
        """The same in a thread of its own, for callers without an event loop."""
        found: queue.SimpleQueue[tuple[Endpoint, Callable[[], object]]] = queue.SimpleQueue()

        async def run() -> None:
            end = asyncio.Event()
            async with self.open() as endpoint:
                found.put((endpoint, functools.partial(asyncio.get_running_loop().call_soon_threadsafe, end.set)))
                await end.wait()

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        endpoint, stop = found.get(timeout=10)
        try:
            yield endpoint
        finally:
            stop()
            thread.join()

    async def deliver(self) -> bytes:
        """Sends what was kept, and returns ClickHouse's answer to it."""
        back, forth = await asyncio.open_connection(self._endpoint.host, self._endpoint.port)
        forth.write(self._kept)
        forth.write_eof()
        answer = await back.read()
        forth.close()
        return answer

    async def _serve(self, reader: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        self.connections += 1
        forth: asyncio.StreamWriter | None = None
        lost = asyncio.Event()
        try:
            back, forth = await asyncio.open_connection(self._endpoint.host, self._endpoint.port)
            await asyncio.gather(self._pump(reader, forth, lost), self._answers(back, answer, lost))
        except (OSError, _CutError, asyncio.CancelledError):
            pass
        finally:
            for stream in (answer, forth):
                if stream is not None:
                    stream.close()

    async def _pump(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            await self._hang()
            if self.stopping and self.stopping in data:
                self._cut()
            if self.keeping and self.keeping in data:
                await self._keep(reader, data)
            while self.holding and self.holding in data:
                self.held = 1
                await asyncio.sleep(0.01)
            if self.halving and self.halving in data:
                to.write(data[: len(data) * 2 // 3])
                await to.drain()
                to.write_eof()
                lost.set()  # the answer is waited for: ClickHouse 26.7 can abort where it can't say what is missing
                return
            if self.losing and self.losing in data:
                lost.set()
            to.write(data)
            await to.drain()
        raise _CutError

    async def _keep(self, reader: asyncio.StreamReader, data: bytes) -> NoReturn:
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        if len(body) < length:
            data += await reader.readexactly(length - len(body))
        self._kept = data
        self._cut()

    async def _answers(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            await self._hang()
            await asyncio.sleep(self.slow)
            if self.lose:
                self.lose -= 1
                self._cut()
            if lost.is_set():
                self._cut()
            to.write(data)
            await to.drain()
        raise _CutError

    async def _hang(self) -> None:
        while self.hanging:
            await asyncio.sleep(0.01)

    def _cut(self) -> NoReturn:
        self.cuts += 1
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
