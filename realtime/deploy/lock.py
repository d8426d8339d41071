"""One deploy at a time: a lock that is a running query.

It is kept in ClickHouse, not in a file, so that deploys from other checkouts and machines exclude each other too.
ClickHouse lets one query with a given id run; the lock is a query that streams a row five times a second for as
long as its reader reads. When the deploy ends, however it ends, the connection goes and the server ends the query
within half a second: there is no lease to renew, and nothing is left to clean up after ``kill -9``.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from realtime.clickhouse.client import ClickHouse
from realtime.errors import BusyError, DuetError, UnavailableError

_HOLD = "SELECT sleepEachRow(0.2) FROM numbers(4000000000) FORMAT TSV"
_SETTINGS = {
    "max_block_size": 1,
    "function_sleep_max_microseconds_per_block": 0,
    "max_execution_time": 0,
    "output_format_parallel_formatting": 0,
    "buffer_size": 1,
    "log_queries": 0,
}
_HELD = (
    "SELECT countIf(Settings['log_comment'] = {mark:String}) AS mine, count() AS everyones "
    "FROM %s WHERE query_id = {id:String}"
)
_END = "KILL QUERY WHERE query_id = {id:String} AND Settings['log_comment'] = {mark:String} SYNC"
PATIENCE = 5.0
"""Seconds to wait for a lock whose holder may just have been killed."""


class Lock:
    """The lock on one kind of ``work`` in one database, held by this process."""

    def __init__(self, client: ClickHouse, database: str, work: str = "deploy") -> None:
        self.query_id = f"duet-{work}-{database}"
        self._work = work
        self._client = client
        self._database = database
        self._mark = uuid.uuid4().hex
        self._ended = threading.Event()
        self._error: DuetError | None = None

    def acquire(self, patience: float) -> None:
        """Takes the lock; BusyError where another deploy still holds it after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while not self._try():
            if time.monotonic() > deadline:
                raise BusyError(
                    f"another {self._work} to {self._database} is running (query {self.query_id})",
                    remedy=f"wait until it is done, then {self._work} again",
                )
            time.sleep(random.uniform(0.05, 0.15))

    def check(self) -> None:
        """UnavailableError where the server ended the lock: then another may have begun the same work."""
        if self._ended.is_set():
            raise UnavailableError(
                f"the lock on {self._database} is lost: {self._error or 'its query ended'}",
                remedy=f"run the {self._work} again; it continues where it stopped",
            )

    def release(self) -> None:
        """Gives the lock back."""
        with contextlib.suppress(DuetError):
            self._client.execute(_END, {"id": self.query_id, "mark": self._mark})
        self._ended.wait(5)

    def _try(self) -> bool:
        self._ended.clear()
        threading.Thread(target=self._hold, daemon=True).start()
        while not self._ended.is_set():
            sql = _HELD % self._client.endpoint.everywhere("system.processes")
            (held,) = self._client.rows(sql, {"id": self.query_id, "mark": self._mark})
            if held["mine"] == held["everyones"] == 1:
                return True
            if held["mine"] and held["everyones"] > 1:
                # Of a cluster each server runs one query of an id. Whoever sees another gives way.
                self.release()
                return False
            self._ended.wait(0.02)
        if self._error is not None and "QUERY_WITH_SAME_ID" not in str(self._error):
            raise self._error
        return False

    def _hold(self) -> None:
        try:
            settings = {**_SETTINGS, "query_id": self.query_id, "log_comment": self._mark}
            self._client.download(_HOLD, Path(os.devnull), settings)
        except DuetError as error:
            self._error = error
        finally:
            self._ended.set()


@contextlib.contextmanager
def exclusive(client: ClickHouse, database: str, patience: float = PATIENCE, work: str = "deploy") -> Iterator[Lock]:
    """Holds the lock on ``work`` in ``database``; BusyError where another does, still after ``patience`` seconds."""
    lock = Lock(client, database, work)
    lock.acquire(patience)
    try:
        yield lock
    finally:
        lock.release()
