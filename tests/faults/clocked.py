"""A ClickHouse whose clock can be set, as far as Duet asks it for the time or lets it stamp rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint

_NOW = re.compile(r"now(InBlock)?64\(6, 'UTC'\)")


class Clocked(ClickHouse):
    """A client that asks for ``now64`` plus what a table of ``database`` says, in defaults of columns too, so that
    other clients' rows are stamped so. ``events`` are statements' parts, in their order, each with what happens before
    the next one that holds it."""

    def __init__(self, endpoint: Endpoint, database: str) -> None:
        super().__init__(endpoint)
        self.events: list[tuple[str, Callable[[], None]]] = []
        self._ahead = f"{database}_clock.ahead"
        self._busy = True
        self.execute(f"CREATE DATABASE {database}_clock")
        self.execute(
            f"CREATE TABLE {self._ahead} (one UInt8, seconds Int64) ENGINE = Join(ANY, LEFT, one) "
            "SETTINGS join_any_take_last_row = 1"
        )
        self.set(0)
        self._busy = False

    def set(self, seconds: int) -> None:
        """The clock is ``seconds`` ahead from now on."""
        self.execute(f"INSERT INTO {self._ahead} VALUES (1, {seconds})")

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        return super().rows(self._told(sql), parameters, settings)

    def bytes(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> bytes:
        return super().bytes(self._told(sql), parameters, settings)

    def insert(
        self, table: str, columns: list[str], rows: list[list[Any]], settings: Mapping[str, Any] | None = None
    ) -> None:
        self._told(f"INSERT INTO {table} {rows}")
        super().insert(table, columns, rows, settings)

    def _told(self, sql: str) -> str:
        if self.events and not self._busy and self.events[0][0] in sql:
            self._busy = True
            self.events.pop(0)[1]()
            self._busy = False
        return _NOW.sub(lambda now: f"({now[0]} + toIntervalSecond(joinGet('{self._ahead}', 'seconds', 1)))", sql)
