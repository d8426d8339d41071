"""ClickHouse's error codes are what their names say, and some of what it can't do by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import CommandError
from realtime.ingest.writer import MISSING_CODES, ROW_CODES, TROUBLE_CODES, Writer


def test_codes_are_those_of_the_server(clickhouse: ClickHouse) -> None:
    listed = {**ROW_CODES, **TROUBLE_CODES, **MISSING_CODES}
    assert len(listed) == len(ROW_CODES) + len(TROUBLE_CODES) + len(MISSING_CODES)
    rows = clickhouse.rows(
        "SELECT code, errorCodeToName(code) AS name FROM (SELECT arrayJoin({codes:Array(Int32)}) AS code)",
        {"codes": list(listed)},
    )
    assert {row["code"]: row["name"] for row in rows} == listed


def test_a_part_without_marks_of_its_index_is_read(clickhouse: ClickHouse, endpoint: Endpoint, database: str) -> None:
    """As ClickHouse leaves one that it merged while the disk was full."""
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(
        f"CREATE TABLE {database}.t (n Int32, at Int32, INDEX at at TYPE minmax) ENGINE = MergeTree ORDER BY n"
    )
    clickhouse.insert(f"{database}.t", ["n", "at"], [[1, 1], [2, 2]])
    query = f"SELECT n FROM {database}.t WHERE at = 2"
    where = {"database": database}
    path = clickhouse.value("SELECT path FROM system.parts WHERE database = {database:String} AND active", where)
    for file in Path(path).glob("skp_idx_at.*mrk*"):
        file.write_bytes(b"")
        clickhouse.execute("SYSTEM DROP INDEX MARK CACHE")
        clickhouse.execute("SYSTEM DROP MARK CACHE")
    with pytest.raises(CommandError, match="Empty marks file"):
        clickhouse.bytes(query)
    assert clickhouse.rows(query) == [{"n": 2}]

    async def read() -> list[_Number]:
        writer = Writer(endpoint)
        try:
            return await writer.read(f"{query} FORMAT JSONEachRow", {}, _Number)
        finally:
            await writer.close()

    assert asyncio.run(read()) == [_Number(2)]


class _Number(msgspec.Struct):
    n: int
