"""More than the server holds: it says so, and its memory stays where it is."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import zstandard

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import SlowBodyError
from realtime.ingest.intake import Intake, Limits
from tests.ingest.rows import deployed
from tests.landing import source
from tests.server.running import Running, running, until
from tests.serving.plans import deploy

MIB = 2**20
PATH = "/v1/events/app.events"
NDJSON, CSV = {"Content-Type": "application/x-ndjson"}, {"Content-Type": "text/csv"}


@pytest.fixture
def flooded(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """A server that holds 32 MiB, and takes 8 at a time."""
    monkeypatch.setenv("DUET_INGEST_QUEUE_MB", "32")
    monkeypatch.setenv("DUET_MAX_BODY_MB", "8")
    deploy(clickhouse, deployed(clickhouse, database, source(database, {"t": "VARCHAR"}, name="app.events")))
    with running(endpoint, database, tmp_path) as server:
        yield server


@contextlib.contextmanager
def peak(process: int) -> Iterator[list[int]]:
    """What a process holds at most, in bytes, once the block has ended."""
    found, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            found[0] = max(found[0], psutil.Process(process).memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def test_memory_stays_flat_whatever_is_sent(flooded: Running, clickhouse: ClickHouse, database: str) -> None:
    rows = b'{"t":"' + b"x" * 90 + b'"}\n'
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (rows * (7 * MIB // len(rows)), NDJSON),
        (b'{"t":"' + b"y" * (7 * MIB) + b'"}', NDJSON),  # one row
        (zstandard.compress(b" " * (1 << 30)), {**NDJSON, "Content-Encoding": "zstd"}),
        (gzip.compress(b"\n" * (1 << 28)), {**CSV, "Content-Encoding": "gzip"}),
        (b"t\n" + b"z\n" * (3 * MIB), CSV),
        (b"[" * (7 * MIB), {"Content-Type": "application/json"}),
    ]
    flooded.ask(PATH, bodies[0][0], headers=NDJSON)  # what it needs to take one body of the largest
    before = psutil.Process(flooded.process.pid).memory_info().rss
    slow = [_slow(flooded.port) for _ in range(50)]
    with peak(flooded.process.pid) as most, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda each: flooded.ask(PATH, each[0], headers=each[1]), bodies * 3))
    for each in slow:
        each.close()
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 400, 429}, flooded.log.read_text()[-3000:]
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status == 429)
    taken = sum(a.json["successful_rows"] for a in answers if a.status == 200)
    first = 7 * MIB // len(rows)
    assert clickhouse.value(f"SELECT count() FROM {database}_raw.app__events") == first + taken
    # 32 MiB of rows, each body once more as it is sent on, and what Python has not given back.
    assert most[0] - before < 160 * MIB, f"{(most[0] - before) / MIB:.0f} MiB more"
    until_free(flooded)


def test_a_caller_that_leaves_in_its_body_is_no_error(flooded: Running) -> None:
    _slow(flooded.port).close()
    until(lambda: [line["status"] for line in flooded.lines("request")] == [499])
    assert not flooded.lines("unexpected error")
    until_free(flooded)


def until_free(server: Running) -> None:
    """Returns when a small request is taken: soon."""
    deadline = time.monotonic() + 10
    while server.ask(PATH, b'{"t":"a"}').status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _slow(port: int) -> socket.socket:
    """A request whose body does not come."""
    found = socket.create_connection(("127.0.0.1", port))
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {5 * MIB}\r\n\r\n"
    found.sendall(head.encode() + json.dumps({"t": "x"}).encode())
    return found


def test_a_body_that_does_not_come_gives_its_place_back(endpoint: Endpoint) -> None:
    async def run() -> None:
        intake = Intake(endpoint, limits=Limits(patience=0.05))

        async def drops() -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield b"x"
                await asyncio.sleep(0.01)

        with pytest.raises(SlowBodyError, match="the body comes too slowly"), intake.room.share() as share:
            await intake.read(drops(), share)
        assert intake.room.used == 0
        await intake.close()

    asyncio.run(run())
