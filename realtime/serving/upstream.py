"""Queries to ClickHouse on the request path: pooled connections, bytes passed through, errors kept apart.

ClickHouse's own words name tables, columns and addresses: they go to the log, never to a caller.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import UnavailableError
from realtime.serving.admission import Admission
from realtime.serving.failures import RequestTooLargeError, failure
from realtime.serving.formats import Format
from realtime.serving.limits import Limits

_LOG = logging.getLogger("duet.upstream")
# Below the server's own 10 s, so that a connection is rarely found closed.
_KEEP_ALIVE = 8
_CONNECT = 2
_TIMED_OUT, _TOO_LARGE = 159, 396  # TIMEOUT_EXCEEDED, TOO_MANY_ROWS_OR_BYTES


class RefusedQueryError(Exception):
    """ClickHouse ended a query with ``code``; ``message`` is its own words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def settings(limits: Limits) -> dict[str, str]:
    """What is sent with every call: a fifth less CPU for point look-ups (measured), and the limits.

    64-bit integers and decimals are numbers in JSON, NaN and infinities are null, timestamps are ISO 8601 in UTC.
    """
    return {
        "readonly": "2",
        "max_threads": "1",
        "output_format_parallel_formatting": "0",
        "log_queries": "0",
        "max_execution_time": f"{limits.seconds:g}",
        "timeout_overflow_mode": "throw",
        "max_result_rows": str(limits.rows),
        "max_result_bytes": str(limits.bytes),
        "result_overflow_mode": "throw",
        # An answer is whole or an error with its status, never cut in the middle: ClickHouse holds this much of it
        # back, and no more is taken (see `_content`). max_result_bytes alone does not count constant columns.
        "buffer_size": str(limits.bytes),
        "cancel_http_readonly_queries_on_client_close": "1",
        "output_format_json_quote_64bit_integers": "0",
        "output_format_json_quote_decimals": "0",
        "output_format_json_quote_denormals": "0",
        "date_time_output_format": "iso",
        "format_csv_null_representation": "",
        "output_format_arrow_string_as_string": "1",
        "output_format_arrow_compression_method": "none",
    }


class Upstream:
    """Connections to one ClickHouse. Made inside a running event loop; `close` gives them back."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self.limits = limits
        self.admission = Admission(limits)
        self._base = f"{endpoint.url}/?"
        self._call = self._base + urllib.parse.urlencode(settings(limits)) + "&default_format="
        self._timeout = aiohttp.ClientTimeout(total=limits.seconds + 5, connect=_CONNECT)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=60),
            headers={
                "X-ClickHouse-User": endpoint.user,
                "X-ClickHouse-Key": endpoint.password,
                # Otherwise ClickHouse compresses, which costs more than it saves on one machine.
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=self._timeout,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def call(self, name: str, select: bytes, parameters: str, form: Format, request_id: str) -> bytes:
        """The answer of ``select`` in ``form``, as ClickHouse wrote it; ``name`` is the lambda's.

        ``parameters`` is what `Signature.encode` returns. OverloadedError, UnavailableError or what
        `realtime.serving.failures` lists; none of them says anything of the database.
        """
        if len(parameters) > self.limits.parameters:
            raise RequestTooLargeError(
                f"lambda {name}: the parameters take {len(parameters)} bytes",
                remedy=f"send at most {self.limits.parameters}",
            )
        async with self.admission.admitted():
            try:
                return await self._post(self._call + form.clickhouse + parameters, select)
            except RefusedQueryError as error:
                fields = {"lambda": name, "request_id": request_id, "code": error.code, "clickhouse": error.message}
                _LOG.warning("query failed", extra={"fields": fields})
                raise failure(error.code, name) from None

    async def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """The answer of ``sql``, outside of the limits for lambdas; RefusedQueryError or UnavailableError."""
        bound = urllib.parse.urlencode({f"param_{k}": v for k, v in (parameters or {}).items()})
        return await self._post(f"{self._base}readonly=2&buffer_size={self.limits.bytes}&{bound}", sql.encode())

    async def _post(self, url: str, body: bytes) -> bytes:
        try:
            try:
                return await self._send(url, body)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                # A kept connection that the server had closed: a query only reads, so it is sent again.
                return await self._send(url, body)
        except TimeoutError:
            raise RefusedQueryError(_TIMED_OUT, "no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            _LOG.warning("ClickHouse does not answer", extra={"fields": {"error": str(error)}})
            raise UnavailableError("ClickHouse does not answer", remedy="try again") from None

    async def _send(self, url: str, body: bytes) -> bytes:
        async with self._session.post(URL(url, encoded=True), data=body) as answer:
            content = await _content(answer, self.limits.bytes)
            if answer.status != 200:
                code = answer.headers.get("X-ClickHouse-Exception-Code", "0")
                raise RefusedQueryError(int(code), content[:2000].decode(errors="replace").strip())
            return content


async def _content(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body; RefusedQueryError beyond ``limit`` bytes: the connection is closed then, which ends the query."""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise RefusedQueryError(_TOO_LARGE, f"the answer has more than {limit} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)
