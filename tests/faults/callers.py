"""Callers of a lambda who know the right answer: what is answered is right, or an error that says to try again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import msgspec

from realtime.project.manifest import Project
from realtime.serving.tags import Tags
from tests.deploy.conftest import project
from tests.faults.ground import DATABASE, SOURCE, Ground
from tests.server.running import until

KEYS = 500
"""Rows of the landing table; every second key that is asked for has none."""
LONGEST = 20.0
"""Seconds that no call may take: a query takes 10 at most, and what does not answer is given up after 15."""
KNOWN = 2.0
"""Seconds after which every server knows what was deployed or moved."""
_PER_ID = "select id, sum(size + {version}) as total from memory.chat.messages group by id"
_KEY = """cast($id /* duet.param {"name": "id", "type": "bigint"} */ as bigint)"""
_TOTAL_OF = f"select id, total, VERSION as asked from memory.main.per_id where id = {_KEY}"
_AGAIN = {"overloaded", "unavailable", "timeout"}


def totals(version: int) -> Project:
    """The lambda ``total_of`` over ``per_id``; each is another version every time, and both tell which."""
    models = {"per_id": _PER_ID.format(version=version)}
    return project(models, of=SOURCE, queries={"total_of": _TOTAL_OF.replace("VERSION", str(version))})


class Callers:
    """``count`` callers of the latest version and of the tag ``production``, a tenth of whom leave before the answer.

    ``right`` are the versions that may answer now, of ``model``, ``latest`` and ``production``: two of each, while one
    takes the place of the other.
    """

    def __init__(self, ground: Ground, count: int, right: dict[str, set[int]]) -> None:
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0
        self.right = right
        self._ground = ground
        self._count = count
        self._stop = threading.Event()
        self._random = random.Random(count)

    @contextlib.contextmanager
    def running(self) -> Iterator[Callers]:
        """Calls until the end of the block; then no answer was wrong and none is missing."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(LONGEST + 10)
        assert not thread.is_alive(), "calls hang"
        assert not self.wrong, self.wrong[:3]

    def redeploy(self) -> None:
        """Another version of the model and of the lambda; who asks after it for the latest gets it."""
        for which in ("model", "latest"):
            self.right[which] |= {self._ground.version + 1}
        self._ground.deploy()
        self.right["model"] = {self._ground.version}
        time.sleep(KNOWN)
        self.right["latest"] = {self._ground.version}

    def move_tag(self) -> None:
        """Points ``production`` to the version that was deployed last."""
        self.right["production"] |= {self._ground.version}
        move_tag(self._ground)
        time.sleep(KNOWN)
        self.right["production"] = {self._ground.version}

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=LONGEST)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(self._call(session) for _ in range(self._count)))

    async def _call(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            leaves = self._random.random() < 0.1
            began = loop.time()
            try:
                async with asyncio.timeout(0.002 if leaves else None):
                    await self._ask(session)
            except TimeoutError:
                if not leaves:
                    self.wrong.append(f"no answer after {LONGEST:g} s")
            except (aiohttp.ClientError, OSError):  # a server was killed
                self.statuses[0] += 1
                await asyncio.sleep(0.05)
            self.slowest = max(self.slowest, loop.time() - began)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        key, which = self._random.randrange(2 * KEYS), self._random.choice(("latest", "production"))
        port = self._random.choice(self._ground.servers).port
        tag = "" if which == "latest" else f"/tags/{which}"
        before = {each: set(versions) for each, versions in self.right.items()}
        async with session.get(f"http://127.0.0.1:{port}/v1/lambdas/total_of{tag}?id={key}") as answer:
            body = msgspec.json.decode(await answer.read())
        self.statuses[answer.status] += 1
        if answer.status != 200:
            if body["error"]["code"] not in _AGAIN:
                self.wrong.append(f"{answer.status}: {body}")
            await asyncio.sleep(0.01)
            return
        possible = [
            [{"id": key, "total": key % 11 + model, "asked": asked}] if key < KEYS else []
            for model in before["model"] | self.right["model"]
            for asked in before[which] | self.right[which]
        ]
        if body["data"] not in possible:
            self.wrong.append(f"{which} of {key}: {body['data']}; right would be one of {possible}")


def fill(ground: Ground) -> dict[str, set[int]]:
    """`KEYS` rows, and the tag; what is right then."""
    ground.site.insert(0, KEYS)
    move_tag(ground)
    path = "/v1/lambdas/total_of/tags/production"
    until(lambda: all(server.ask(path, id=1).status == 200 for server in ground.servers))
    return {which: {ground.version} for which in ("model", "latest", "production")}


def move_tag(ground: Ground) -> None:
    """Points ``production`` to the version that was deployed last."""
    client = ground.site.client
    rows = client.rows(f"SELECT version FROM {DATABASE}_duet.lambdas WHERE name = 'total_of' ORDER BY at")
    Tags(client, DATABASE, {"total_of": [row["version"] for row in rows]}).move("total_of", "production", ["latest"])
