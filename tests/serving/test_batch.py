"""The same lambda on DuckDB."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pytest

from realtime.errors import BadRequestError, CommandError
from realtime.serving.batch import answer
from tests.serving.plans import param, spec

LAST = spec(
    "last_messages",
    "",
    [
        param("stream", "VARCHAR"),
        param("as_of", "TIMESTAMP", required=False),
        param("limit", "INTEGER", default=10),
        param("ids", "BIGINT[]", default=[1, 2, 3]),
        param("unused", "INTEGER", default=1),
    ],
    batch="SELECT id, sent FROM messages WHERE stream = CAST($stream AS VARCHAR) AND sent <= CAST($as_of AS TIMESTAMP)"
    " AND list_contains(CAST($ids AS BIGINT[]), id) ORDER BY id DESC LIMIT CAST($limit AS INTEGER)",
)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE messages (id BIGINT, stream VARCHAR, sent TIMESTAMP)")
        for minute in range(4):
            connection.execute(
                "INSERT INTO messages VALUES (?, 'it''s', ?)", [minute, dt.datetime(2018, 5, 1, 12, minute)]
            )
    return path


def test_the_rows(warehouse: Path) -> None:
    rows = answer(LAST, {"stream": "it's", "as_of": "2018-05-01T12:02:00Z", "limit": 1}, warehouse)
    assert rows == [{"id": 2, "sent": dt.datetime(2018, 5, 1, 12, 2)}]
    assert len(answer(LAST, {"stream": "it's"}, warehouse)) == 3


def test_errors_are_clear(warehouse: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="parameter stream is missing"):
        answer(LAST, {}, warehouse)
    with pytest.raises(CommandError, match="can't answer lambda last_messages"):
        answer(LAST, {"stream": "x"}, tmp_path / "none.duckdb")
