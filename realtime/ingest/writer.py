"""Inserts over HTTP, each exactly once: a retry carries the token of the first try, and ClickHouse drops the double."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

import aiohttp
import msgspec

from realtime.clickhouse.client import has_no_room
from realtime.clickhouse.endpoint import Endpoint
from realtime.clickhouse.parameters import bound
from realtime.disk import NO_ROOM, shortage
from realtime.emit.landing import EARLY
from realtime.errors import UnavailableError

T = TypeVar("T")
Turn = Callable[[], contextlib.AbstractAsyncContextManager[None]]

PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # seconds before each retry
_LARGE = 2**20
_SMALL = 2**16
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)

SETTINGS: Mapping[str, str] = {
    "async_insert": "0",
    # Of a table over all shards: answered when the shards have the rows.
    "distributed_foreground_insert": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    # Rows of many days are not wrong rows.
    "max_partitions_per_insert_block": "0",
    # One insert is one block, so that a retry makes the same blocks: batches stay far below these.
    "input_format_parallel_parsing": "0",
    "max_insert_block_size": "10000000",
    "min_insert_block_size_rows": "10000000",
    "min_insert_block_size_bytes": "1000000000",
    # As the checks read it: exact doubles, ISO times, nothing skipped, no NULL taken for a default.
    "precise_float_parsing": "1",
    "date_time_input_format": "best_effort",
    "input_format_skip_unknown_fields": "0",
    "input_format_null_as_default": "0",
}

# An insert of few rows takes a few milliseconds, and callers wait for it: its thread goes before those of queries and
# of merges (a nice value), where ClickHouse may say so (CAP_SYS_NICE).
_FIRST: Mapping[str, str] = {"os_thread_priority": "-5"}

_READING: Mapping[str, str] = {
    "output_format_json_quote_64bit_integers": "0",
    "max_query_size": str(2**28),
    "enable_time_time64_type": "1",
    "max_threads": "1",
    "log_queries": "0",
    **{k: v for k, v in SETTINGS.items() if k in ("precise_float_parsing", "date_time_input_format")},
}

# What says something about a row, by code and name as in ClickHouse's src/Common/ErrorCodes.cpp: parse errors, ranges,
# types, NULL in a column that can't hold it, division by zero, throwIf, decimal overflow, constraints.
ROW_CODES: Mapping[int, str] = {
    6: "CANNOT_PARSE_TEXT",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    131: "TOO_LARGE_STRING_SIZE",
    153: "ILLEGAL_DIVISION",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    376: "CANNOT_PARSE_UUID",
    395: "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
    407: "DECIMAL_OVERFLOW",
    441: "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
    675: "CANNOT_PARSE_IPV4",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
# A server in trouble, which passes: timeouts, memory, too many parts or queries, a query of the same id, a table
# that is exchanged at that moment.
TROUBLE_CODES: Mapping[int, str] = {
    3: "UNEXPECTED_END_OF_FILE",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    159: "TIMEOUT_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    741: "TABLE_UUID_MISMATCH",
    439: "CANNOT_SCHEDULE_TASK",
    999: "KEEPER_EXCEPTION",
}
# What `duet deploy` makes, and is not there.
MISSING_CODES: Mapping[int, str] = {
    16: "NO_SUCH_COLUMN_IN_TABLE",
    47: "UNKNOWN_IDENTIFIER",
    60: "UNKNOWN_TABLE",
    81: "UNKNOWN_DATABASE",
}
BUSY = "duet: another server runs such an insert"
"""What an insert throws that gives way to another one."""
_HOLD = "SELECT sleepEachRow(0.2) FROM numbers(4000000000) FORMAT TSV"
_HOLDING: Mapping[str, str] = {
    "max_block_size": "1",
    "function_sleep_max_microseconds_per_block": "0",
    "max_execution_time": "0",
    "output_format_parallel_formatting": "0",
    "buffer_size": "1",
    "http_wait_end_of_query": "0",
    "log_queries": "0",
}
_ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
_VIEW = re.compile(r"while pushing to view ([^\s:]+?)[.:]*(?:\s|$)")


class RowsRefusedError(Exception):
    """ClickHouse can't take a row of the insert. ``view`` names the materialized view that threw; the landing table
    holds the rows then. Empty where nothing was written."""

    def __init__(self, reason: str, view: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.view = view


class MissingError(UnavailableError):
    """A table, a column or a database is not there."""


class Writer:
    """Connections to ``endpoint``; used within one event loop. ``turn`` gives what an insert holds while it runs.
    ``lost`` is set where a connection broke: ClickHouse may have been killed."""

    def __init__(self, endpoint: Endpoint, turn: Turn = contextlib.nullcontext) -> None:
        self._endpoint = endpoint
        self._turn = turn
        self._session: aiohttp.ClientSession | None = None
        self.inserts = 0
        self.lost = asyncio.Event()

    @property
    def cluster(self) -> str:
        """The cluster that the server is one of; empty where it stands alone."""
        return self._endpoint.cluster

    def everywhere(self, table: str) -> str:
        """What a system table is read by, so that it tells of every server of the cluster."""
        return self._endpoint.everywhere(table)

    async def insert(
        self,
        statement: str,
        rows: bytes,
        token: str,
        before: Callable[[int], Awaitable[Mapping[str, str] | None]] | None = None,
        traceparent: str = "",
    ) -> None:
        """Returns when the rows are on disk. RowsRefusedError where a row is at fault; UnavailableError where the
        server did not take them after the retries.

        ``before`` is called before each try, with the number of those before it; it gives settings of the try, or None
        where the rows have landed. ``traceparent`` is the span that ClickHouse's own belong to.
        """

        async def attempt(tries: int) -> str:
            settings = await before(tries) if before else {}
            return "" if settings is None else await self.post(statement, rows, token, settings, traceparent)

        await self._patiently(attempt, "take the rows")
        self.inserts += 1

    async def post(
        self,
        statement: str,
        rows: bytes,
        token: str,
        settings: Mapping[str, str] = MappingProxyType({}),
        traceparent: str = "",
    ) -> str:
        """One try of an insert; no two with one ``token`` run at a time. What is raised may pass, or may not."""
        named = {"insert_deduplication_token": token, "query_id": token} if token else {}
        first = _FIRST if len(rows) < _SMALL else {}
        async with self._turn():
            return await self._post({**SETTINGS, **first, **settings, **named, "query": statement}, rows, traceparent)

    async def fetch(self, query: str, parameters: Mapping[str, str]) -> bytes:
        """The answer of a query, which ends in its FORMAT, as it came. Raises as `read` does."""
        named = {**_READING, **bound(parameters), "query": query}
        return await self._patiently(lambda _: self._send(named, b""), "answer")

    async def read(
        self,
        query: str,
        parameters: Mapping[str, str],
        kind: type[T],
        body: bytes = b"",
        pauses: Sequence[float] = PAUSES,
    ) -> list[T]:
        """The rows of a query, which ends in FORMAT JSONEachRow, as ``kind``; ``body`` is the rest of its text, where
        it is too long for an address. It is asked again after ``pauses``, in seconds.

        MissingError where it reads what is not there; UnavailableError where the server does not answer."""
        named = {**_READING, **bound(parameters), "query": query}
        text = await self._patiently(lambda _: self._post(named, body), "answer", pauses)
        return [msgspec.json.decode(line, type=kind) for line in text.splitlines()]

    async def change(self, rest: bytes, query_id: str, traceparent: str = "") -> None:
        """Runs an INSERT that reads what it inserts; ``rest`` is what follows that word. One with ``query_id`` runs at
        a time. UnavailableError where the server does not take it."""
        settings = {**_READING, **SETTINGS, "query": "INSERT", "query_id": query_id}
        await self._patiently(lambda _: self._post(settings, rest, traceparent), "take the rows")
        self.inserts += 1

    @contextlib.asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[asyncio.Event]:
        """Holds the lock ``name``: a query that runs for as long as it is read, of which ClickHouse runs one. Yields an
        event that is set when it is lost; UnavailableError where another process holds it."""
        parameters = {**_HOLDING, "query": _HOLD, "query_id": name}
        lost = asyncio.Event()
        try:
            async with self._open().post(self._endpoint.url, params=parameters, timeout=_ENDLESS) as answer:
                first = await answer.content.readline()
                if answer.status != 200 or not first.startswith(b"0"):
                    raise UnavailableError(f"{name} is held by another server: {_reason(first.decode())}")
                holding = asyncio.create_task(_hold(answer, lost))
                try:
                    yield lost
                finally:
                    holding.cancel()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{name} can't be held: {error}") from None

    async def execute(self, statement: str) -> None:
        """Runs a statement that has no answer."""
        await self._patiently(lambda _: self._post({"query": statement}, b""), "answer")

    async def _patiently(
        self, attempt: Callable[[int], Awaitable[T]], what: str, pauses: Sequence[float] = PAUSES
    ) -> T:
        last = ""
        for tries, pause in enumerate((*pauses, None)):
            try:
                return await attempt(tries)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.lost.set()
                last = str(error) or type(error).__name__
            except TroubleError as error:
                last = str(error)
            if pause is not None:  # by chance, so that two that gave way to each other do not meet again
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        room = f"{NO_ROOM}; then " if has_no_room(last) or shortage(self._endpoint.data) else ""
        once = "send the request again, best with an Idempotency-Key: what was stored is then not stored twice"
        raise UnavailableError(
            f"ClickHouse at {self._endpoint.url} did not {what}: {last}",
            remedy=f"{room}{once}",
        )

    async def _post(self, parameters: Mapping[str, str], body: bytes, traceparent: str = "") -> str:
        return (await self._send(parameters, body, traceparent)).decode(errors="replace")

    async def _send(self, parameters: Mapping[str, str], body: bytes, traceparent: str = "") -> bytes:
        data = body if len(body) < _LARGE else io.BytesIO(body)  # in pieces, between which others are served
        headers = {"traceparent": traceparent} if traceparent else None
        async with self._open().post(self._endpoint.url, params=parameters, data=data, headers=headers) as answer:
            content = await answer.read()
            if answer.status != 200 or "X-ClickHouse-Exception-Code" in answer.headers:
                code = int(answer.headers.get("X-ClickHouse-Exception-Code", 0))
                raise _error(code, content.decode(errors="replace"))
            return content

    async def close(self) -> None:
        """Gives the connections back."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {
                "X-ClickHouse-User": self._endpoint.user,
                "X-ClickHouse-Key": self._endpoint.password,
                "Accept-Encoding": "identity",  # else ClickHouse compresses
            }
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.5)  # ClickHouse closes idle ones after 3 s
            self._session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=_TIMEOUT)
        return self._session


async def _hold(answer: aiohttp.ClientResponse, lost: asyncio.Event) -> None:
    try:
        while await answer.content.readany():
            pass
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    finally:
        lost.set()


class TroubleError(Exception):
    """An error of the server that may pass."""


def _error(code: int, text: str) -> Exception:
    reason = _reason(text)
    if code in TROUBLE_CODES or not code or EARLY in reason or BUSY in reason:
        return TroubleError(reason)
    view = _VIEW.search(text)
    if view:
        return RowsRefusedError(reason, view.group(1))
    if code in ROW_CODES:
        return RowsRefusedError(reason, "")
    if code in MISSING_CODES:
        return MissingError(f"ClickHouse misses something: {reason}", remedy="deploy the project: duet deploy")
    return UnavailableError(f"ClickHouse refused: {reason}", remedy="see the server's log")


def _reason(text: str) -> str:
    """ClickHouse's words without its version and without the place in the batch, which nobody can look up."""
    words = " ".join(text.split()).partition("DB::Exception: ")[2] or text.strip()[:200]
    words = re.sub(r"\(version [^)]*\)\s*$", "", words)
    return re.sub(r":? ?\(at row \d+\)[: ]*While executing \w+\.?", "", words).strip()[:500]
