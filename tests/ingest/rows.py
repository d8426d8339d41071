"""Rows for tests, and what became of them."""

from __future__ import annotations

import json

from realtime.clickhouse.client import ClickHouse
from realtime.emit.landing import create_quarantine
from realtime.planner.ir import Plan, SourceSpec
from tests.landing import create, plan_of

COLUMNS = {"id": "BIGINT", "stream": "VARCHAR", "at": "TIMESTAMP", "chars": "INTEGER"}


def deployed(clickhouse: ClickHouse, database: str, *sources: SourceSpec) -> Plan:
    """The plan of ``sources``, whose landing and quarantine tables are made."""
    create(clickhouse, *sources)
    for spec in sources:
        clickhouse.execute(create_quarantine(spec))
    return plan_of(database, *sources)


def ndjson(*rows: dict[str, object]) -> bytes:
    """A request's body."""
    return b"".join(json.dumps(r).encode() + b"\n" for r in rows)


def row(number: int, **more: object) -> dict[str, object]:
    """A row of `COLUMNS`."""
    return {"id": number, "stream": f"s{number % 3}", "at": "2018-04-01T10:00:00Z", "chars": number % 100, **more}


def quarantined(clickhouse: ClickHouse, spec: SourceSpec) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Row, columns and reasons of what is in quarantine, sorted."""
    rows = clickhouse.rows(f"SELECT row, columns, reasons FROM {spec.quarantine} ORDER BY row")
    return [(r["row"], tuple(r["columns"]), tuple(r["reasons"])) for r in rows]
