"""ClickHouse's error codes are what their names say."""

from __future__ import annotations

from realtime.clickhouse.client import ClickHouse
from realtime.ingest.writer import MISSING_CODES, ROW_CODES, TROUBLE_CODES


def test_codes_are_those_of_the_server(clickhouse: ClickHouse) -> None:
    listed = {**ROW_CODES, **TROUBLE_CODES, **MISSING_CODES}
    assert len(listed) == len(ROW_CODES) + len(TROUBLE_CODES) + len(MISSING_CODES)
    rows = clickhouse.rows(
        "SELECT code, errorCodeToName(code) AS name FROM (SELECT arrayJoin({codes:Array(Int32)}) AS code)",
        {"codes": list(listed)},
    )
    assert {row["code"]: row["name"] for row in rows} == listed
