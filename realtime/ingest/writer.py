"""Inserts over HTTP, each exactly once: a retry carries the token of the first try, and ClickHouse drops the double."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Mapping

import aiohttp
import msgspec

from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import UnavailableError

PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # seconds before each retry
_LARGE = 2**20
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)

SETTINGS: Mapping[str, str] = {
    "async_insert": "0",
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

# Codes that say something about a row (ClickHouse's src/Common/ErrorCodes.cpp): parse errors, ranges, types,
# NULL in a column that can't hold it, division by zero, throwIf, decimal overflow, constraints.
_ROW_CODES = frozenset(
    (6, 25, 26, 27, 28, 33, 34, 38, 41, 53, 69, 70, 72, 117, 129, 130, 131, 153, 190, 321, 349, 376, 395, 407, 439, 441)
) | {469, 675, 691}
# Codes of a server in trouble, which pass: timeouts, memory, too many parts or queries, a query of the same id.
_TROUBLE_CODES = frozenset(
    (3, 159, 202, 203, 209, 210, 216, 225, 236, 241, 242, 243, 252, 285, 286, 319, 394, 425, 999)
)
_MISSING_CODES = frozenset((16, 60, 81))
_VIEW = re.compile(r"while pushing to view ([^\s:]+?)[.:]*(?:\s|$)")


class RowsRefusedError(Exception):
    """ClickHouse can't take a row of the insert. ``view`` names the materialized view that threw; the landing table
    holds the rows then. Empty where nothing was written."""

    def __init__(self, reason: str, view: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.view = view


class Writer:
    """Connections to ``endpoint``; used within one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None
        self.inserts = 0

    async def insert(self, statement: str, rows: bytes, token: str) -> None:
        """Returns when the rows are on disk. RowsRefusedError where a row is at fault; UnavailableError where the
        server did not take them after the retries."""
        last = ""
        for pause in (*PAUSES, None):
            try:
                await self._send(statement, rows, token)
                self.inserts += 1
                return
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                last = str(error) or type(error).__name__
            except _TroubleError as error:
                last = str(error)
            if pause is not None:
                await asyncio.sleep(pause)
        raise UnavailableError(
            f"ClickHouse at {self._endpoint.url} did not take the rows: {last}",
            remedy="send the request again, best with an Idempotency-Key: what was stored is then not stored twice",
        )

    async def columns(self, query: str, parameters: Mapping[str, str]) -> list[list[str]]:
        """The columns of a query that ends in FORMAT JSONCompactColumns."""
        text = await self._post({"query": query, **{f"param_{k}": v for k, v in parameters.items()}}, b"")
        return msgspec.json.decode(text, type=list[list[str]])

    async def _send(self, statement: str, rows: bytes, token: str) -> None:
        named = {"insert_deduplication_token": token} if token else {}
        await self._post({**SETTINGS, **named, "query": statement}, rows)

    async def _post(self, parameters: Mapping[str, str], body: bytes) -> str:
        data = body if len(body) < _LARGE else io.BytesIO(body)  # in pieces, between which others are served
        async with self._open().post(self._endpoint.url, params=parameters, data=data) as answer:
            text = await answer.text(errors="replace")
            if answer.status != 200 or "X-ClickHouse-Exception-Code" in answer.headers:
                raise _error(int(answer.headers.get("X-ClickHouse-Exception-Code", 0)), text)
            return text

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


class _TroubleError(Exception):
    """An error of the server that may pass."""


def _error(code: int, text: str) -> Exception:
    reason = _reason(text)
    if code in _TROUBLE_CODES or not code:
        return _TroubleError(reason)
    view = _VIEW.search(text)
    if view:
        return RowsRefusedError(reason, view.group(1))
    if code in _ROW_CODES:
        return RowsRefusedError(reason, "")
    remedy = "deploy the project: duet deploy" if code in _MISSING_CODES else "see the server's log"
    return UnavailableError(f"ClickHouse refused the insert: {reason}", remedy=remedy)


def _reason(text: str) -> str:
    """ClickHouse's words without its version and without the place in the batch, which nobody can look up."""
    words = " ".join(text.split()).partition("DB::Exception: ")[2] or text.strip()[:200]
    words = re.sub(r"\(version [^)]*\)\s*$", "", words)
    return re.sub(r":? ?\(at row \d+\)[: ]*While executing \w+\.?", "", words).strip()[:500]
