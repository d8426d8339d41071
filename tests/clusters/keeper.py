"""What Keeper does for a cluster, done in front of servers that have none.

The local ClickHouse has no address at which replicas fetch parts from each other, so it makes no `Replicated` database
and no statement ON CLUSTER (tried on 26.7 with Apache ZooKeeper). Here a statement that Keeper would hand to all
servers is sent to all of them, and engines lose the word by which they would be replicated. Of a database in which
every server holds all rows, inserts are sent to all. Everything else goes to the server that was asked: so Distributed
tables, inserts into them, views and queries over both servers are ClickHouse's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import re
import threading
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
from aiohttp import web

from realtime.clickhouse.endpoint import Endpoint

_DATABASE = re.compile(r"CREATE DATABASE IF NOT EXISTS `(\w+)` ON CLUSTER `\w+` ENGINE = Replicated\('[^']*', ('all')?")
_ON_CLUSTER = re.compile(r"(DROP DATABASE|KILL QUERY)\b[^;]*?( ON CLUSTER `\w+`)", re.IGNORECASE)
_DDL = re.compile(r"(/\*.*?\*/\s*)?(CREATE|DROP|ALTER|RENAME|EXCHANGE)\b", re.IGNORECASE | re.DOTALL)
_INSERT = re.compile(r"INSERT\s+INTO\s+`?(\w+)`?\.", re.IGNORECASE)
_REPLICATED = re.compile(r"\bReplicated(\w*MergeTree)\b")
_WINDOW = re.compile(r"\breplicated_deduplication_window = (\d+), replicated_deduplication_window_seconds = \d+")
_OWN = ("Content-Type",)
_SKIPPED = frozenset({"transfer-encoding", "content-length", "connection", "date", "server"})


class Keeper:
    """In front of ``servers``, one interface each."""

    def __init__(self, servers: list[Endpoint]) -> None:
        self._servers = servers
        self._databases: set[str] = set()
        self._everywhere: set[str] = set()
        self._later: set[asyncio.Task[None]] = set()
        self._taking = {server.port: asyncio.Lock() for server in servers}

    @contextlib.contextmanager
    def thread(self) -> Iterator[list[Endpoint]]:
        """Where the servers are reached, in their order; in a thread of its own."""
        found: queue.SimpleQueue[list[Endpoint]] = queue.SimpleQueue()
        loop, end = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(self._run(found, end),))
        thread.start()
        try:
            yield found.get(timeout=10)
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join()
            loop.close()

    async def _run(self, found: queue.SimpleQueue[list[Endpoint]], end: asyncio.Event) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            runners, endpoints = [], []
            for server in self._servers:
                app = web.Application(client_max_size=1 << 28)
                app.router.add_route("*", "/{path:.*}", functools.partial(self._serve, server))
                runners.append(web.AppRunner(app, access_log=None, shutdown_timeout=0.1))
                await runners[-1].setup()
                site = web.TCPSite(runners[-1], "127.0.0.1", 0)
                await site.start()
                port = runners[-1].addresses[0][1]
                endpoints.append(Endpoint("127.0.0.1", port, cluster=server.cluster))
            found.put(endpoints)
            await end.wait()
            for task in self._later:
                task.cancel()
            for runner in runners:
                await runner.cleanup()

    async def _serve(self, server: Endpoint, request: web.Request) -> web.StreamResponse:
        given, body = request.query.get("query", ""), await request.read()
        text = (given + " " + body[:100_000].decode(errors="replace")).strip()
        handed = self._handed_to_all(text)
        if handed is None:
            return await self._passed(request, server, body)
        # What is handed to all is one text, but for the rows of an insert.
        query = {"query": given} if handed == text else {"query": handed}
        sent = body if handed == text else b""
        asked = functools.partial(self._asked, request, query=query, body=sent)
        order = [server, *(s for s in self._servers if s is not server)]
        if _INSERT.match(text):
            # Replicas take it when they can, in order.
            answer = await asked(server)
            if answer.status == 200:
                self._later |= {asyncio.create_task(self._replicated(each, asked)) for each in order[1:]}
            return answer
        answers = await asyncio.gather(*map(asked, order))
        failed = [a for a in answers if a.status != 200]
        return failed[0] if failed else answers[0]

    async def _replicated(self, server: Endpoint, asked: Callable[[Endpoint], Awaitable[web.Response]]) -> None:
        async with self._taking[server.port]:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await asked(server)
                    return
                await asyncio.sleep(0.05)

    def _handed_to_all(self, text: str) -> str | None:
        """The statement that all servers are sent for ``text``; None where it is for the one that was asked."""
        if made := _DATABASE.match(text):
            self._databases.add(made[1])
            if made[2]:
                self._everywhere.add(made[1])
            return f"CREATE DATABASE IF NOT EXISTS `{made[1]}`"
        if found := _ON_CLUSTER.match(text):
            return text[: found.start(2)] + text[found.end(2) :]
        if into := _INSERT.match(text):
            return text if into[1] in self._everywhere else None
        if _DDL.match(text) and any(re.search(rf"\b{name}`?\.", text) for name in self._databases):
            text = _REPLICATED.sub(r"\1", text)
            return _WINDOW.sub(r"non_replicated_deduplication_window = \1", text)
        return None

    async def _asked(self, request: web.Request, server: Endpoint, query: dict[str, str], body: bytes) -> web.Response:
        kept = {name: value for name, value in request.query.items() if name != "query"} | query
        async with self._session.post(
            f"{server.url}/", params=kept, data=body, headers=_headers(request), skip_auto_headers=_OWN
        ) as answer:
            headers = {n: v for n, v in answer.headers.items() if n.lower() not in _SKIPPED}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)

    async def _passed(self, request: web.Request, server: Endpoint, body: bytes) -> web.StreamResponse:
        url, headers = f"{server.url}/{request.match_info['path']}", _headers(request)
        passed: web.StreamResponse | None = None
        try:
            async with self._session.request(
                request.method,
                url,
                params=request.query,
                data=body,
                headers=headers,
                skip_auto_headers=_OWN,
            ) as answer:
                kept = {n: v for n, v in answer.headers.items() if n.lower() not in _SKIPPED}
                passed = web.StreamResponse(status=answer.status, headers=kept)
                await passed.prepare(request)
                async for piece in answer.content.iter_any():
                    await passed.write(piece)
                await passed.write_eof()
                return passed
        except (aiohttp.ClientError, OSError):  # one of both is gone: the other sees its connection end
            if request.transport is not None:
                request.transport.abort()
            return passed or web.Response(status=503)


def _headers(request: web.Request) -> dict[str, str]:
    left_out = {"host", "content-length", "transfer-encoding", "connection", "expect"}
    return {name: value for name, value in request.headers.items() if name.lower() not in left_out}
