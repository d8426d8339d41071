"""Statements to ClickHouse over HTTP, for everything but the request path."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError

from realtime.clickhouse.endpoint import Endpoint
from realtime.disk import shortage
from realtime.errors import CommandError, FullError, UnavailableError

# It logs a refused connection before it raises it.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)


_NO_ROOM = re.compile(r"\(NOT_ENOUGH_SPACE\)|No space left on device")
Block = bytes  # the class below has a method of this name


class ClickHouse:
    """A connection to ``endpoint``. Every method raises UnavailableError where the server does not answer, and
    CommandError with the server's own words where it refuses a statement."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        try:
            self._client = clickhouse_connect.get_client(
                host=endpoint.host,
                port=endpoint.port,
                secure=endpoint.secure,
                username=endpoint.user,
                password=endpoint.password,
                autogenerate_session_id=False,
                compress=False,
                send_receive_timeout=3600,
                query_limit=0,
                # What is inserted into a table over all shards can be read when the insert returns.
                settings={"distributed_foreground_insert": 1} if endpoint.cluster else None,
            )
        except (ClickHouseError, OSError, urllib3.exceptions.HTTPError) as error:
            raise _unanswered(endpoint, error, "check CLICKHOUSE_URL, or start the local one: duet up") from None

    @property
    def cluster(self) -> str:
        """The cluster that the server is one of; empty where it stands alone."""
        return self.endpoint.cluster

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Runs one statement; ``{name:Type}`` placeholders are bound from ``parameters``."""
        self.bytes(sql, parameters, settings)

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """All rows of a query, each a mapping of column name to value."""
        try:
            found = self._client.query(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))
        except (ClickHouseError, OSError, urllib3.exceptions.HTTPError) as error:
            raise self._failed(error, sql) from None
        return list(found.named_results())

    def value(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row; None where there is no row."""
        rows = self.rows(sql, parameters)
        return next(iter(rows[0].values())) if rows else None

    def bytes(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> bytes:
        """The answer as the server wrote it; ``sql`` names its FORMAT."""
        try:
            answer: bytes = self._client.raw_query(sql, dict(parameters or {}), dict(settings or {}))
        except (ClickHouseError, OSError, urllib3.exceptions.HTTPError) as error:
            raise self._failed(error, sql) from None
        return answer

    def download(self, sql: str, path: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Streams the answer of ``sql``, which names its FORMAT, into the file ``path``."""
        try:
            with self._client.raw_stream(sql, settings=dict(settings or {})) as stream, path.open("wb") as out:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    out.write(block)
        except (ClickHouseError, OSError, urllib3.exceptions.HTTPError) as error:
            raise self._failed(error, sql) from None

    def upload(self, sql: str, path: Path, settings: Mapping[str, Any] | None = None) -> None:
        """Runs the INSERT ``sql``, which names its FORMAT, with the file ``path`` as its rows."""
        try:
            self._client.command(sql, data=path.read_bytes(), settings=dict(settings or {}))
        except (ClickHouseError, OSError, urllib3.exceptions.HTTPError) as error:
            raise self._failed(error, sql) from None

    def stream(self, sql: str, body: Iterable[Block], settings: Mapping[str, Any] | None = None) -> None:
        """Runs the INSERT ``sql``, which names its FORMAT, with the bytes of ``body`` as they come."""
        blocks = itertools.chain([f"{sql}\n".encode()], body)
        try:
            # Without a table, the statement begins the block.
            self._client.raw_insert("", insert_block=(b for b in blocks), settings=dict(settings or {}))
        except (ClickHouseError, OSError, urllib3.exceptions.HTTPError) as error:
            raise self._failed(error, sql) from None

    def insert(
        self, table: str, columns: list[str], rows: list[list[Any]], settings: Mapping[str, Any] | None = None
    ) -> None:
        """Inserts ``rows``, each a list of values in the order of ``columns``."""
        try:
            self._client.insert(table, rows, column_names=columns, settings=dict(settings or {}))
        except (ClickHouseError, OSError, urllib3.exceptions.HTTPError) as error:
            raise self._failed(error, f"INSERT INTO {table}") from None

    def __enter__(self) -> ClickHouse:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connection back."""
        self._client.close()

    def _failed(self, error: Exception, sql: str) -> CommandError | UnavailableError:
        if isinstance(error, DatabaseError) and (not isinstance(error, OperationalError) or "Code: " in str(error)):
            head = " ".join(sql.split())[:120]
            if has_no_room(str(error)):
                said = shortage(self.endpoint.data) or _first_line(error)
                return FullError(
                    f"the disk of ClickHouse at {self.endpoint.url} has no room for `{head}`: {said}",
                    remedy="free space on it, then do the same again",
                )
            return CommandError(f"ClickHouse refused `{head}`: {_first_line(error)}")
        return _unanswered(self.endpoint, error, "see duet status")


def has_no_room(error: str) -> bool:
    """Whether the server said ``error`` because its disk is full."""
    return _NO_ROOM.search(error) is not None


def _unanswered(endpoint: Endpoint, error: Exception, remedy: str) -> UnavailableError:
    short = shortage(endpoint.data)
    if short:
        return UnavailableError(
            f"ClickHouse at {endpoint.url} waits for room: {short}",
            remedy="free space on it: ClickHouse then starts by itself",
        )
    return UnavailableError(f"ClickHouse at {endpoint.url} does not answer: {_first_line(error)}", remedy=remedy)


def _first_line(error: Exception) -> str:
    refused = re.search(r"\[Errno \d+\] ([^')]+)", str(error))
    if refused and "Code: " not in str(error):  # urllib3 tells of its objects and its attempts too
        return refused[1]
    text = str(error).strip().partition("Code: ")
    shown = "Code: " + text[2] if text[1] else text[0]
    return shown.splitlines()[0] if shown else type(error).__name__
