"""Vectors (``FLOAT[n]``) come in by every way, land as they are, and are in the lake what they were."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]  # has no types
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.export import export
from realtime.ingest.files import load
from realtime.ingest.intake import Limits
from realtime.ingest.lake import create_lake_views, open_batch
from realtime.planner.ir import Plan, SourceSpec
from tests.ingest.rows import deployed, ndjson, quarantined
from tests.ingest.served import served
from tests.ingest.test_events import call
from tests.ingest.test_formats import ARROW, CSV, stream
from tests.landing import project, source

COLUMNS = {"id": "BIGINT", "version": "BIGINT", "gone": "BOOLEAN", "v": "FLOAT[3]"}
ZEROS = [0.0, 0.0, 0.0]


def singles(*numbers: float) -> list[float]:
    """``numbers`` as FLOATs hold them."""
    form = f"<{len(numbers)}f"
    return list(struct.unpack(form, struct.pack(form, *numbers)))


@pytest.fixture
def spec(database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.items", mode="upsert", key=("id",), version="version", deleted="gone")


@pytest.fixture
def plan(clickhouse: ClickHouse, database: str, spec: SourceSpec) -> Plan:
    return deployed(clickhouse, database, spec)


@pytest.fixture
def url(endpoint: Endpoint, plan: Plan) -> Iterator[str]:
    with served(endpoint, plan, Limits()) as address:
        yield address


def test_every_way_in_and_the_way_to_the_lake(
    clickhouse: ClickHouse, url: str, plan: Plan, spec: SourceSpec, tmp_path: Path
) -> None:
    events = f"{url}/v1/events/app.items"
    bad = {"short": [1, 2], "null": [1, None, 3], "text": [1, "NaN", 3], "none": None}
    sent = [{"id": 1, "version": 1, "v": [0.1, -2, 3e38]}]
    sent += [{"id": i, "version": 1, "v": value} for i, value in enumerate(bad.values(), 100)]
    assert call(events, ndjson(*sent))[1] == {"successful_rows": 1, "quarantined_rows": 4}
    assert [reasons for _, _, reasons in quarantined(clickhouse, spec)] == [
        ("expected a list of 3 numbers, got 2",),
        ("item 2: is NULL, which no number of a FLOAT[3] can be",),
        ("item 2: is not a finite number",),
        ("is NULL, which a FLOAT[3] can't be",),
    ]
    call(events, b'id,version,v\n2,1,"[0.2,0,1e-45]"\n', Content_Type=CSV)
    arrays = pa.array([[0.3, 1, 2]], pa.list_(pa.float32(), 3))
    call(events, stream(id=[3], version=[1], v=arrays), Content_Type=ARROW)
    file = tmp_path / "rows.parquet"
    duckdb.sql(f"COPY (SELECT 4 AS id, 1 AS version, [0.4, 1, 2]::FLOAT[3] AS v) TO '{file}'")
    assert load(url, spec, [file], lambda done, total: None).successful_rows == 1
    call(events, ndjson({"id": 3, "version": 2, "v": [9, 9, 9]}), method="PATCH")
    call(events, ndjson({"id": 4, "version": 2}), method="DELETE")

    rows = clickhouse.rows(f"SELECT id, v FROM {spec.landing} FINAL ORDER BY id")
    expected = {1: singles(0.1, -2, 3e38), 2: singles(0.2, 0, 1e-45), 3: singles(9, 9, 9), 4: ZEROS}
    assert {row["id"]: row["v"] for row in rows} == expected

    settings = project(tmp_path / "project")
    export(settings, plan, clickhouse)
    create_lake_views(settings, plan)
    with open_batch(settings.project_dir / "warehouse.duckdb") as batch:
        found = batch.execute(f"SELECT id, v, typeof(v) FROM {spec.batch} ORDER BY id").fetchall()
    del expected[4]  # deleted
    assert [(number, list(v), kind) for number, v, kind in found] == [(i, v, "FLOAT[3]") for i, v in expected.items()]
