"""Kept connections to ClickHouse's HTTP port: whole requests out, whole replies back.

A general HTTP client costs 120 to 2,000 µs of CPU a request, this 20 to 30; a point look-up takes ClickHouse some 500.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple, cast

import httptools

from realtime.clickhouse.endpoint import Endpoint

_CONNECT_SECONDS = 2
_IDLE_SECONDS = 8
"""Below the server's own 10 s, so that a connection is rarely found closed."""


class Reply(NamedTuple):
    """``headers`` by their names in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class TooLongError(Exception):
    """A reply's body is longer than is taken; its connection was closed, which ends the query."""


class StaleError(ConnectionError):
    """The connection was closed before a byte of the reply came."""


class Pool:
    """Connections to ``endpoint``, as many as there are requests in flight; the one used last is used next."""

    def __init__(self, endpoint: Endpoint, longest: int) -> None:
        self._endpoint = endpoint
        self._longest = longest
        self._tls = ssl.create_default_context() if endpoint.secure else None
        self._idle: list[tuple[float, _Connection]] = []
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self._head = (
            f" HTTP/1.1\r\nHost: {host}:{endpoint.port}\r\nX-ClickHouse-User: {endpoint.user}\r\n"
            # Otherwise ClickHouse compresses, which costs more than it saves on one machine.
            f"X-ClickHouse-Key: {endpoint.password}\r\nAccept-Encoding: identity\r\nContent-Length: "
        ).encode()

    async def post(self, target: str, body: bytes, seconds: float, headers: bytes = b"") -> Reply:
        """The reply to ``POST target``; TimeoutError after ``seconds``, TooLongError, OSError where nothing answers.
        ``headers`` are lines sent beside the usual ones, each with its end.

        A kept connection that the server had closed is no error: the request is sent again, so it must only read.
        """
        request = b"POST " + target.encode() + self._head + b"%d\r\n%b\r\n" % (len(body), headers) + body
        while (kept := self._kept()) is not None:
            try:
                return await self._exchange(kept, request, seconds)
            except StaleError:
                continue
        return await self._exchange(await self._connect(), request, seconds)

    def close(self) -> None:
        """Closes the connections."""
        for _, connection in self._idle:
            connection.abort()
        self._idle.clear()

    def _kept(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if connection.usable and now - since < _IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, connection = await loop.create_connection(
                lambda: _Connection(self._longest), self._endpoint.host, self._endpoint.port, ssl=self._tls
            )
        return connection

    async def _exchange(self, connection: _Connection, request: bytes, seconds: float) -> Reply:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, connection.time_out)
        try:
            reply = await connection.send(request)
        except BaseException:  # also where the caller left: closing it ends the query
            connection.abort()
            raise
        finally:
            timer.cancel()
        if connection.usable:
            self._idle.append((loop.time(), connection))
        return reply


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._reply: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._reply is None

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        self._reply = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._length = 0
        self._begun = False
        assert self._transport is not None
        self._transport.write(request)
        return self._reply

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def time_out(self) -> None:
        self._fail(TimeoutError("no answer in time"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass

    def data_received(self, data: bytes) -> None:
        if self._reply is None:  # nothing was asked: what comes is no reply
            self.abort()
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"no HTTP reply: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        kind = ConnectionError if self._reply is not None and self._begun else StaleError
        self._fail(kind(f"the connection was closed: {error or 'by the server'}"))
        self._transport = None

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, part: bytes) -> None:
        self._length += len(part)
        self._parts.append(part)
        if self._length > self._longest:
            self._fail(TooLongError(f"the answer has more than {self._longest} bytes"))

    def on_message_complete(self) -> None:
        if self._reply is None:
            return
        reply, self._reply = self._reply, None
        if not self._parser.should_keep_alive():
            self.abort()
        if not reply.done():
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            reply.set_result(Reply(self._parser.get_status_code(), self._headers, body))

    def _fail(self, error: Exception) -> None:
        reply, self._reply = self._reply, None
        self.abort()
        if reply is not None and not reply.done():
            reply.set_exception(error)
