"""Senders that keep what they were told: which rows were acknowledged, and which may be in all the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator

import aiohttp
import msgspec

from tests.deploy.conftest import message
from tests.faults.ground import Ground
from tests.ingest.rows import ndjson

_TIMEOUT = aiohttp.ClientTimeout(total=20)


class Senders:
    """``count`` senders of requests of up to ``rows`` rows, every other one with a key. Those with a key are sent until
    they are acknowledged, then again at times, also after later ones; the others are sent once."""

    def __init__(self, ground: Ground, count: int, rows: int = 20, first: int = 0) -> None:
        self.acknowledged: set[int] = set()
        self.sent: set[int] = set()
        self.refused: list[str] = []
        self.requests = 0
        self.errors = 0
        self.last = first
        self._ground = ground
        self._count = count
        self._rows = rows
        self._stop = threading.Event()
        self._random = random.Random(count)

    @contextlib.contextmanager
    def running(self) -> Iterator[Senders]:
        """Sends until the end of the block, and then until every request with a key is acknowledged."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(120)
        assert not thread.is_alive(), "requests with a key are not acknowledged after two minutes"
        assert not self.refused, self.refused[:3]

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            await asyncio.gather(*(self._send(session, number) for number in range(self._count)))

    async def _send(self, session: aiohttp.ClientSession, number: int) -> None:
        old: list[tuple[str, bytes, int]] = []
        while not self._stop.is_set():
            ids = range(self.last, self.last + self._random.randint(1, self._rows))
            self.last = ids.stop
            self.sent.update(ids)
            body = ndjson(*map(message, ids))
            key = f"{number}-{ids.start}" if self._random.random() < 0.5 else ""
            while not await self._post(session, body, key, len(ids)) and key:
                await asyncio.sleep(0.05)
            if key:
                old.append((key, body, len(ids)))
                if self._random.random() < 0.3:
                    key, body, count = self._random.choice(old[-20:])
                    await self._post(session, body, key, count)
            await asyncio.sleep(self._random.random() * 0.02)

    async def _post(self, session: aiohttp.ClientSession, body: bytes, key: str, count: int) -> bool:
        url = self._random.choice(self._ground.urls)
        self.requests += 1
        try:
            async with session.post(url, data=body, headers={"Idempotency-Key": key} if key else {}) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.errors += 1
            return False
        if answer.status == 200:
            assert msgspec.json.decode(text) == {"successful_rows": count, "quarantined_rows": 0}
            self.acknowledged.update(row["id"] for row in map(msgspec.json.decode, body.splitlines()))
            return True
        self.errors += 1
        if answer.status not in (429, 503):
            self.refused.append(f"{answer.status}: {text.decode()[:300]}")
        return False
