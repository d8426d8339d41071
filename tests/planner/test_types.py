"""A column of every type, the real way: checked as it is ingested, landed, kept in a state, read; or refused."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.errors import DuetError
from realtime.ingest.piece import of_rows
from realtime.ingest.schema import Schema
from realtime.planner.planner import plan_project
from realtime.project.manifest import Project
from realtime.transpile.types import Kind, duck_type
from tests.planner.small import Declared, Deployed, planned, project
from tests.transpile.engines import ask_clickhouse, ask_duckdb, in_any_order, same

# Two values each as JSON has them, extremes where there are some; every column has a row with NULL, too.
VALUES: dict[str, tuple[object, object]] = {
    "TINYINT": (-128, 127),
    "SMALLINT": (-32768, 32767),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "HUGEINT": (str(-(2**127)), str(2**127 - 1)),
    "UTINYINT": (0, 255),
    "USMALLINT": (0, 65535),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
    "UHUGEINT": ("0", str(2**128 - 1)),
    "FLOAT": (0.5, -1.25),
    "DOUBLE": (0.1, -1.7976931348623157e308),
    "DECIMAL(4,1)": ("-999.9", "999.9"),
    "DECIMAL(9,2)": ("-9999999.99", "0.01"),
    "DECIMAL(18,3)": ("-999999999999999.999", "0.001"),
    "DECIMAL(38,10)": ("-9999999999999999999999999999.9999999999", "0.0000000001"),
    "BOOLEAN": (True, False),
    "VARCHAR": ("", 'naïve 🦆\n"\\'),
    "DATE": ("1900-01-01", "2299-12-31"),
    "TIMESTAMP": ("1900-01-01 00:00:00", "2299-12-31 23:59:59.999999"),
    "TIMESTAMP_S": ("1969-12-31 23:59:59", "2299-12-31 23:59:59"),
    "TIMESTAMP_MS": ("1969-12-31 23:59:59.999", "2299-12-31 23:59:59.999"),
    "TIMESTAMP WITH TIME ZONE": ("1969-12-31 23:59:59.999999+00", "2018-05-01 10:20:30.5+00"),
    "TIME": ("00:00:00", "23:59:59.999999"),
    "UUID": ("8f14e45f-ceea-467f-a1d5-0123456789ab", "00000000-0000-0000-0000-000000000000"),
    "JSON": ({"a": [1, None]}, []),
    "ENUM('a', 'b')": ("a", "b"),
    "INTEGER[]": ([1, None], []),
    "FLOAT[3]": ([0.1, -0.5, 3e38], [0, 1, 2]),
    "VARCHAR[][]": ([["a"], []], [["", None]]),
    "STRUCT(a INTEGER, b VARCHAR)": ({"a": 1, "b": None}, {"a": None, "b": "ü"}),
    "STRUCT(n STRUCT(x DATE), l INTEGER[])": ({"n": {"x": "1900-01-01"}, "l": [1]}, {"n": {"x": None}, "l": []}),
}
_NESTED = (Kind.LIST, Kind.ARRAY, Kind.STRUCT)
COLUMNS = {f"c{i:02}": name for i, name in enumerate(VALUES)}


def _kept(column: str, name: str) -> str:
    shown = f"list({column} order by id)" if duck_type(name).kind in _NESTED else f"first({column} order by id)"
    return f"{shown} as {column}"


def _rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for i in range(4):
        values = {c: VALUES[t][i % 2] for c, t in COLUMNS.items()}
        if i == 2:
            values |= {c: None for c, t in COLUMNS.items() if duck_type(t).kind not in _NESTED}
        rows.append({"id": i, "g": i // 2, **values})
    return rows


def built(columns: dict[str, str]) -> Project:
    kept = ", ".join(_kept(c, t) for c, t in columns.items())
    origin = "from {{ source('app', 'events') }}"
    models = {"kept": f"select g, {kept} {origin} group by g", "plain": f"select * {origin}"}
    return project({"app.events": Declared({"id": "integer", "g": "integer", **columns})}, models)


def test_every_type_is_the_same_all_the_way(clickhouse: ClickHouse, database: str, tmp_path: Path) -> None:
    made = built(COLUMNS)
    plan = planned(made, database)
    assert {s.model: str(s.shape) for s in plan.steps} == {"kept": "aggregate", "plain": "stream"}
    Deployed(plan, clickhouse)
    lines = [json.dumps(row, separators=(",", ":")).encode() for row in _rows()]
    schema = Schema(plan.sources[0])
    checked = schema.check(of_rows(lines))
    assert [bad.reasons for bad in checked.bad] == []
    clickhouse.execute(f"{schema.insert}\n{checked.rows.decode()}")
    connection = _in_duckdb(made, tmp_path / "rows.ndjson", lines)
    for step in plan.steps:
        columns = [c for c in step.columns if not c.name.startswith("_")]
        names = ", ".join(f'"{c.name}"' for c in columns)
        wanted = ask_duckdb(connection, f"SELECT {names} FROM ({made.models[_id(made, step.model)].sql})", {}, columns)
        found = ask_clickhouse(clickhouse, f"SELECT {names} FROM {step.relation}", {}, columns)
        for a, b in zip(*(in_any_order(rows, exact=True) for rows in (wanted, found)), strict=True):
            different = [(c.type, x, y) for c, x, y in zip(columns, a, b, strict=True) if not same(x, y, 0.0)]
            assert not different, f"{step.model}: DuckDB, ClickHouse: {different}"


def _id(made: Project, name: str) -> str:
    return next(key for key, model in made.models.items() if model.name == name)


def _in_duckdb(made: Project, file: Path, lines: list[bytes]) -> duckdb.DuckDBPyConnection:
    file.write_bytes(b"\n".join(lines))
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    (source,) = made.sources.values()
    name = source.relation.sql("duckdb")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {source.relation.db}")
    connection.execute(f"CREATE TABLE {name} ({', '.join(f'{n} {t}' for n, t in source.columns.items())})")
    rows = f"INSERT INTO {name} SELECT * FROM read_ndjson($file, columns = $columns)"
    connection.execute(rows, {"file": str(file), "columns": dict(source.columns)})
    return connection


REFUSED = (
    "INTEGER[3]",
    "TIME WITH TIME ZONE",
    "BIT",
    "INTERVAL",
    "BIGNUM",
    "UNION(a INTEGER, b VARCHAR)",
    "VARIANT",
)


@pytest.mark.parametrize("name", REFUSED)
def test_other_types_are_refused_when_planned(name: str) -> None:
    refusals: tuple[DuetError, ...] = plan_project(built({"c00": name}), "x").refusals
    assert any(f"c00 is {name}" in str(r) and "→" in str(r) for r in refusals), [str(r) for r in refusals]
