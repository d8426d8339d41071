"""Queries to ClickHouse on the request path: pooled connections, bytes passed through, errors kept apart.

ClickHouse's own words name tables, columns and addresses: they go to the log, never to a caller.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Mapping

from realtime.clickhouse.endpoint import Endpoint
from realtime.clickhouse.parameters import bound
from realtime.disk import NO_ROOM, shortage
from realtime.errors import UnavailableError
from realtime.planner.ir import CallLimits
from realtime.serving.admission import Admission
from realtime.serving.failures import RequestTooLargeError, failure
from realtime.serving.limits import Limits
from realtime.serving.pool import Pool, Reply, TooLongError

_LOG = logging.getLogger("duet.upstream")
_TIMED_OUT, _TOO_LARGE = 159, 396  # TIMEOUT_EXCEEDED, TOO_MANY_ROWS_OR_BYTES
_MANY_TO_READ = 158  # TOO_MANY_ROWS


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
    memory = {"max_memory_usage": str(limits.memory)} if limits.memory else {}
    return {
        **memory,
        "readonly": "2",
        "max_threads": "1",
        "output_format_parallel_formatting": "0",
        "log_queries": "0",
        # To plan a look-up takes longer than to run it: without looking for projections, which no table here has,
        # without counting expressions that may be worth compiling, and without timers for the sampling of threads,
        # it takes 4 to 8 % less.
        "optimize_use_projections": "0",
        "compile_expressions": "0",
        "query_profiler_real_time_period_ns": "0",
        "query_profiler_cpu_time_period_ns": "0",
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
    """Connections to one ClickHouse, those of calls as the user of ``reader``. Made inside a running event loop;
    `close` gives them back."""

    def __init__(self, endpoint: Endpoint, limits: Limits, reader: Endpoint | None = None) -> None:
        self.limits = limits
        self.admission = Admission(limits)
        self._base = f"{urllib.parse.urlsplit(endpoint.url).path}/?"
        self._data = endpoint.data
        self._targets: dict[CallLimits | None, tuple[Limits, str]] = {}
        self._pool = Pool(endpoint, limits.bytes)
        self._readers = Pool(reader or endpoint, limits.bytes)

    async def close(self) -> None:
        """Closes the connections."""
        self._pool.close()
        self._readers.close()

    async def call(
        self,
        name: str,
        select: bytes,
        parameters: str,
        form: str,
        request_id: str,
        own: CallLimits | None = None,
        traceparent: str = "",
    ) -> Reply:
        """The reply to ``select`` in ClickHouse's format ``form``; ``name`` is the lambda's, ``own`` are its limits. It
        waits for no slot: see `admission`. ``traceparent`` is the span that ClickHouse's own belong to.

        ``parameters`` is what `Signature.encode` returns. OverloadedError, UnavailableError or what
        `realtime.serving.failures` lists; none of them says anything of the database.
        """
        if len(parameters) > self.limits.parameters:
            raise RequestTooLargeError(
                f"lambda {name}: the parameters take {len(parameters)} bytes",
                remedy=f"send at most {self.limits.parameters}",
            )
        limits, target = self._targets.get(own) or self._target(own)
        try:
            return await self._post(self._readers, target + form + parameters, select, limits.seconds, traceparent)
        except RefusedQueryError as error:
            fields = {"lambda": name, "request_id": request_id, "code": error.code, "clickhouse": error.message}
            # No more rows than were to be read is no failure: see `realtime.serving.calls`.
            level = logging.INFO if error.code == _MANY_TO_READ else logging.WARNING
            _LOG.log(level, "query failed", extra={"fields": fields})
            raise failure(error.code, name, limits) from None

    def _target(self, own: CallLimits | None) -> tuple[Limits, str]:
        """The limits of a lambda and the address of its calls, made once."""
        limits = self.limits.of(own)
        found = limits, self._base + urllib.parse.urlencode(settings(limits)) + "&default_format="
        self._targets[own] = found
        return found

    async def read(self, sql: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The answer of ``sql``, outside of the limits for lambdas; RefusedQueryError or UnavailableError."""
        named = urllib.parse.urlencode(bound(parameters or {}))
        reply = await self._post(
            self._pool, f"{self._base}readonly=2&buffer_size={self.limits.bytes}&{named}", sql.encode()
        )
        return reply.body

    async def write(self, insert: str, rows: bytes) -> None:
        """Inserts ``rows``, in the format that ``insert`` names; maybe twice, where a connection was lost."""
        target = f"{self._base}query={urllib.parse.quote(insert)}&date_time_input_format=best_effort"
        await self._post(self._pool, target, rows)

    async def _post(self, pool: Pool, target: str, body: bytes, seconds: float = 0, traceparent: str = "") -> Reply:
        """The reply within ``seconds``, or those of every lambda, and five more."""
        headers = f"traceparent: {traceparent}\r\n".encode() if traceparent else b""
        try:
            reply = await pool.post(target, body, (seconds or self.limits.seconds) + 5, headers)
        except TooLongError as error:
            raise RefusedQueryError(_TOO_LARGE, str(error)) from None
        except TimeoutError:
            raise RefusedQueryError(_TIMED_OUT, "no answer in time") from None
        except OSError as error:
            short = shortage(self._data)
            _LOG.warning("ClickHouse does not answer", extra={"fields": {"error": str(error), "disk": short}})
            if short:
                raise UnavailableError("ClickHouse waits for room on its disk", remedy=NO_ROOM) from None
            raise UnavailableError("ClickHouse does not answer", remedy="try again") from None
        if reply.status != 200:
            code = reply.headers.get(b"x-clickhouse-exception-code", b"0")
            raise RefusedQueryError(int(code), reply.body[:2000].decode(errors="replace").strip())
        return reply
