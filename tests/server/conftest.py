"""One server for the tests that leave it as it was."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.planner.ir import CallLimits, Column, LambdaSpec, SourceSpec
from tests.server.running import Running, running
from tests.serving.plans import deploy, param, plan, spec

STREAM = param("stream", "VARCHAR", description="Which stream")
LAMBDAS: tuple[LambdaSpec, ...] = (
    spec(
        "numbers",
        "SELECT number AS n, {label:Nullable(String)} AS label FROM numbers({count:UInt64})",
        [param("count", "INTEGER", default=3, minimum=0, maximum=1_000_000), param("label", "VARCHAR", required=False)],
        [("n", "UBIGINT"), ("label", "VARCHAR")],
        description="The first numbers",
        examples=({"count": 2},),
    ),
    spec("moment", "SELECT {as_of:Nullable(DateTime64(6, 'UTC'))} AS t", [param("as_of", "TIMESTAMP", required=False)],
         [("t", "TIMESTAMP")]),
    spec("echo", "SELECT {stream:Nullable(String)} AS s", [STREAM], [("s", "VARCHAR")]),
    spec("kinds", "SELECT toInt64(9007199254740993) AS big, toDecimal64('1.5', 2) AS price, toDate32('2018-05-01') AS"
         " day, nan AS odd, CAST(NULL AS Nullable(String)) AS nothing, 'a,\"b' AS text", [], [("big", "BIGINT")]),
    spec("slow", "SELECT sum(sleepEachRow(0.1)) AS s FROM numbers({tenths:UInt64}) SETTINGS max_block_size = 1",
         [param("tenths", "INTEGER")], [("s", "BIGINT")]),
    spec("endless", "SELECT count() AS n FROM numbers(1000000000000) WHERE sipHash64(number) = {seed:UInt64}",
         [param("seed", "UBIGINT")], [("n", "BIGINT")]),
    spec("broken", "SELECT secret_column FROM system.one", [], [("n", "BIGINT")]),
    spec("throws", "SELECT throwIf(number = 0, 'secret') AS n FROM numbers(1)", [], [("n", "BIGINT")]),
    spec("kept", "SELECT generateUUIDv4() AS id, {stream:String} AS s", [STREAM], [("id", "UUID"), ("s", "VARCHAR")],
         cache_seconds=3600.0),
    spec("few", "SELECT number AS n FROM numbers({count:UInt64})", [param("count", "INTEGER")], [("n", "UBIGINT")],
         limits=CallLimits(seconds=5.0, rows=3, concurrency=2)),
    spec("unknown_function", "SELECT secretFunction(1) AS n", [], [("n", "BIGINT")]),
)  # fmt: skip
SOURCE = SourceSpec(
    name="chat.messages", landing="", quarantine="", batch="",
    columns=(Column("id", "VARCHAR", "String"), Column("n", "INTEGER", "Nullable(Int32)", "How many")), key=("id",),
)  # fmt: skip


@pytest.fixture(scope="module")
def served(endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with `LAMBDAS`."""
    database = f"s{uuid.uuid4().hex[:12]}"
    deploy(clickhouse, plan(database, LAMBDAS, [SOURCE]))
    with running(endpoint, database, tmp_path_factory.mktemp("server")) as server:
        yield server
    clickhouse.execute(f"DROP DATABASE {database}_duet SYNC")
