"""ClickHouse's error codes are what their names say; inserts of few rows go first."""

from __future__ import annotations

import asyncio

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.writer import MISSING_CODES, ROW_CODES, TROUBLE_CODES, Writer


def test_codes_are_those_of_the_server(clickhouse: ClickHouse) -> None:
    listed = {**ROW_CODES, **TROUBLE_CODES, **MISSING_CODES}
    assert len(listed) == len(ROW_CODES) + len(TROUBLE_CODES) + len(MISSING_CODES)
    rows = clickhouse.rows(
        "SELECT code, errorCodeToName(code) AS name FROM (SELECT arrayJoin({codes:Array(Int32)}) AS code)",
        {"codes": list(listed)},
    )
    assert {row["code"]: row["name"] for row in rows} == listed


def test_an_insert_of_few_rows_goes_before_queries(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(f"CREATE TABLE {database}.t (n Int64) ENGINE = MergeTree ORDER BY n")

    async def work() -> None:
        writer = Writer(endpoint)
        for rows, token in ((1, f"{database}-few"), (20_000, f"{database}-many")):
            await writer.insert(f"INSERT INTO {database}.t (n) FORMAT JSONEachRow", b'{"n":1}\n' * rows, token)
        await writer.close()

    asyncio.run(work())
    clickhouse.execute("SYSTEM FLUSH LOGS query_log")
    nice = "Settings['os_threads_nice_value_query']"
    found = clickhouse.rows(
        f"SELECT query_id, {nice} AS nice FROM system.query_log WHERE type = 'QueryFinish'"
        f" AND startsWith(query_id, '{database}-') ORDER BY query_id"
    )
    assert [(row["query_id"], row["nice"]) for row in found] == [(f"{database}-few", "-5"), (f"{database}-many", "")]
