"""Parity counts every row that one side has and the other has not, and says why where it can."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.errors import NotFoundError
from realtime.ingest.export import export
from realtime.ingest.lake import create_lake_views, open_batch
from realtime.parity.compare import Compared, parity
from realtime.planner.ir import Column, Plan, Shape, SourceSpec, Step
from realtime.settings import Settings
from realtime.transpile.types import duck_type
from tests.landing import create, project, source

Rows = Sequence[Sequence[Any]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path / "project")


def step_of(
    database: str, columns: Mapping[str, str], *, name: str = "totals", keys: tuple[str, ...] = (), depends_on: str = ""
) -> Step:
    return Step(
        model=name,
        unique_id=f"model.shop.{name}",
        shape=Shape.AGGREGATE,
        why="",
        relation=f"{database}.{name}",
        batch=f'"warehouse"."main"."{name}"',
        select="",
        columns=tuple(Column(n, t, duck_type(t).base) for n, t in columns.items()),
        depends_on=(depends_on,) if depends_on else (),
        keys=keys,
    )


def plan_of(step: Step, *sources: SourceSpec) -> Plan:
    return Plan(project="shop", database=step.relation.split(".")[0], sources=sources, steps=(step,))


def fill_batch(settings: Settings, step: Step, rows: Rows) -> None:
    with open_batch(settings.project_dir / "warehouse.duckdb") as connection:
        columns = ", ".join(f'"{c.name}" {c.type}' for c in step.columns)
        connection.execute(f"CREATE OR REPLACE TABLE {step.batch} ({columns})")
        if rows:
            marks = ", ".join("?" for _ in step.columns)
            connection.executemany(f"INSERT INTO {step.batch} VALUES ({marks})", rows)


def fill_realtime(client: ClickHouse, step: Step, rows: Rows) -> None:
    database = step.relation.split(".")[0]
    columns = ", ".join(f"`{c.name}` {duck_type(c.type).clickhouse}" for c in step.columns)
    client.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
    client.execute(f"CREATE OR REPLACE TABLE {step.relation} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
    if rows:
        client.insert(step.relation, [c.name for c in step.columns], [list(row) for row in rows])


def compare(settings: Settings, client: ClickHouse, step: Step, batch: Rows, realtime: Rows) -> Compared:
    fill_batch(settings, step, batch)
    fill_realtime(client, step, realtime)
    [found] = parity(settings, plan_of(step), client)
    assert (found.rows_batch, found.rows_realtime) == (len(batch), len(realtime))
    return found


NAN, INF = math.nan, math.inf


def test_rows_compare_as_multisets(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    step = step_of(database, {"who": "VARCHAR", "n": "BIGINT"})
    one: list[Any] = ["日本 🦆", 1]
    two: list[Any] = ["b", 2]
    nothing = [None, None]
    cases: list[tuple[Rows, Rows, int]] = [
        ([], [], 0),
        ([one, two, nothing], [nothing, two, one], 0),
        ([one, one, nothing, nothing], [one, one, nothing, nothing], 0),
        ([one, one, two], [one, two], 1),
        ([one], [one, one, one], 2),
        ([one, two], [one], 1),
        ([one, ["b", 2]], [one, ["b", 3]], 2),
        ([[None, 1]], [["", 1]], 2),
        ([["a", None]], [["a", 0]], 2),
        ([["e\u0301", 1]], [["\u00e9", 1]], 2),
        ([["a ", 1]], [["a", 1]], 2),
    ]
    for batch, realtime, differing in cases:
        found = compare(settings, clickhouse, step, batch, realtime)
        assert found.differing == differing, (batch, realtime, found)
        assert sum(example.times for example in found.examples) == differing
        assert found.reason == ""


def test_floats_may_differ_by_rounding_only(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    step = step_of(database, {"k": "VARCHAR", "x": "DOUBLE", "y": "DOUBLE"})
    near, far = 1e6 * (1 + 5e-10), 1e6 * (1 + 2e-9)
    cases: list[tuple[Rows, Rows, int]] = [
        ([["a", 1e6, 0.0]], [["a", near, -0.0]], 0),
        ([["a", 1e6, 0.0]], [["a", far, 0.0]], 2),
        ([["a", -1e6, 1e-320]], [["a", -near, 1e-320]], 0),
        ([["a", NAN, INF]], [["a", NAN, INF]], 0),
        ([["a", NAN, None]], [["a", NAN, None]], 0),
        ([["a", NAN, 1.0]], [["a", 1.0, NAN]], 2),
        ([["a", NAN, 1.0]], [["a", None, 1.0]], 2),
        ([["a", INF, 1.0]], [["a", -INF, 1.0]], 2),
        ([["a", INF, 1.0]], [["a", 1.7976931348623157e308, 1.0]], 2),
        ([["a", 0.0, 1.0]], [["a", 1e-300, 1.0]], 2),
        ([["a", 1e6, 1.0]], [["b", 1e6, 1.0]], 2),
        # Duplicates are told apart by their floats, each close one is used once.
        ([["a", 1e6, 1.0]] * 3, [["a", near, 1.0]] * 2, 1),
        (
            [["a", 1e6, 1.0], ["a", 2e6, 2.0], ["a", None, 3.0]],
            [["a", None, 3.0], ["a", 2e6, 2.0], ["a", near, 1.0]],
            0,
        ),
        # Rounding turns the order of x around; y says which rows belong together.
        ([["a", 1e6, 1.0], ["a", near, 2.0]], [["a", near, 1.0], ["a", 1e6, 2.0]], 0),
        ([["a", 1e6, 1.0], ["a", 1e6, 2.0]], [["a", near, 2.0], ["a", 1e6, 3.0]], 2),
    ]
    for batch, realtime, differing in cases:
        assert compare(settings, clickhouse, step, batch, realtime).differing == differing, (batch, realtime)


def test_floats_inside_lists_and_structs(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    near, far = 1 + 5e-10, 1 + 2e-9
    cases: list[tuple[str, Any, Any, int]] = [
        ("DOUBLE[]", [1.0, None, NAN], [near, None, NAN], 0),
        ("DOUBLE[]", [1.0], [far], 2),
        ("DOUBLE[]", [1.0], [1.0, 1.0], 2),
        ("DOUBLE[]", [], [], 0),
        ("FLOAT[2]", [1.0, NAN], [1.0, NAN], 0),
        ("FLOAT[2]", [1.0, 2.0], [1.0, 2.5], 2),
        ("DOUBLE[][]", [[1.0], []], [[near], []], 0),
        ("STRUCT(a DOUBLE, b VARCHAR)", {"a": 1.0, "b": "x"}, {"a": near, "b": "x"}, 0),
        ("STRUCT(a DOUBLE, b VARCHAR)", {"a": 1.0, "b": "x"}, {"a": near, "b": "y"}, 2),
        ("MAP(VARCHAR, DOUBLE)", {"a": 1.0, "b": 2.0}, {"b": 2.0, "a": near}, 0),
        ("MAP(VARCHAR, DOUBLE)", {"a": 1.0}, {"b": 1.0}, 2),
        ("MAP(VARCHAR, BIGINT)", {"a": 1, "b": 2}, {"b": 2, "a": 1}, 0),
        ("BIGINT[]", [1, 2], [2, 1], 2),
    ]
    for kind, batch, realtime, differing in cases:
        step = step_of(database, {"k": "VARCHAR", "x": kind})
        left: Rows = [["a", batch]]
        right: Rows = [["a", realtime]]
        found = compare(settings, clickhouse, step, left, right)
        assert found.differing == differing, (kind, batch, realtime, found)


def test_examples_name_the_columns_that_differ(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    step = step_of(database, {"who": "VARCHAR", "n": "BIGINT", "x": "DOUBLE"}, keys=("who",))
    batch: Rows = [["same", 1, 1.0], ["changed", 1, 2.0], ["gone", 3, None], [None, 4, 4.0]]
    realtime: Rows = [["same", 1, 1.0], ["changed", 2, 2.5], ["new", 5, 5.0], [None, 4, 4.5]]
    found = compare(settings, clickhouse, step, batch, realtime)
    assert found.differing == 6
    assert [(e.side, e.row["who"], e.row["n"], e.differs) for e in found.examples] == [
        ("batch", "changed", "1", ("n", "x")),
        ("realtime", "changed", "2", ("n", "x")),
        ("batch", "gone", "3", None),
        ("realtime", "new", "5", None),
        ("batch", None, "4", ("x",)),
    ]
    rounded = compare(settings, clickhouse, step, [["a", 1, 1.0]], [["a", 2, 1.0 + 1e-12]])
    assert [e.differs for e in rounded.examples] == [("n",)] * 2
    assert str(found.examples[0]) == "only in batch: who=changed, n=1, x=2.0 (differs in n, x)"
    record = json.loads(msgspec.json.encode(found))
    assert {"model": "totals", "shape": "aggregate", "rows_batch": 4, "rows_realtime": 4, "differing": 6}.items() <= (
        record.items()
    )


def test_every_type_compares_as_its_own(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    kinds = {
        "HUGEINT": "toInt128('170141183460469231731687303715884105727')",
        "UBIGINT": "toUInt64('18446744073709551615')",
        "DECIMAL(38,10)": "toDecimal128('1234567890123456789012345678.0123456789', 10)",
        "TIMESTAMP": "toDateTime64('2018-11-04 01:30:00.123456', 6, 'UTC')",
        "TIMESTAMP WITH TIME ZONE": "toDateTime64('2018-11-04 01:30:00.123456', 6, 'UTC')",
        "DATE": "toDate32('1900-01-01')",
        "TIME": "toTime64('23:59:59.999999', 6)",
        "UUID": "toUUID('8f14e45f-ceea-467f-a1d5-0123456789ab')",
        "JSON": "'{\"a\": 1}'",
        "ENUM('a', 'b')": "'b'",
        "BOOLEAN": "true",
        "TIMESTAMP[]": "[toDateTime64('2018-11-04 01:30:00.123456', 6, 'UTC')]",
    }
    texts = {
        "HUGEINT": "170141183460469231731687303715884105727",
        "UBIGINT": "18446744073709551615",
        "DECIMAL(38,10)": "1234567890123456789012345678.0123456789",
        "TIMESTAMP": "2018-11-04 01:30:00.123456",
        "TIMESTAMP WITH TIME ZONE": "2018-11-04 01:30:00.123456+00",
        "DATE": "1900-01-01",
        "TIME": "23:59:59.999999",
        "UUID": "8f14e45f-ceea-467f-a1d5-0123456789ab",
        "JSON": '{"a": 1}',
        "ENUM('a', 'b')": "b",
        "BOOLEAN": "true",
        "TIMESTAMP[]": "['2018-11-04 01:30:00.123456']",
    }
    step = step_of(database, {f"c{i}": kind for i, kind in enumerate(kinds)})
    fill_batch(settings, step, [list(texts.values()), [None] * (len(kinds) - 1) + ["[]"]])
    clickhouse.execute(f"CREATE DATABASE {database}")
    types = [f"CAST({v} AS {duck_type(k).clickhouse}) AS c{i}" for i, (k, v) in enumerate(kinds.items())]
    nulls = [f"CAST({'[]' if k.endswith('[]') else 'NULL'} AS {duck_type(k).clickhouse})" for k in kinds]
    clickhouse.execute(
        f"CREATE VIEW {step.relation} AS SELECT {', '.join(types)} UNION ALL SELECT {', '.join(nulls)}",
        settings={"enable_time_time64_type": 1},
    )
    [found] = parity(settings, plan_of(step), clickhouse)
    assert (found.differing, found.reason) == (0, ""), found


def test_a_missing_side_is_in_the_record(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    step = step_of(database, {"who": "VARCHAR"})
    [neither] = parity(settings, plan_of(step), clickhouse)
    assert (neither.rows_batch, neither.rows_realtime, neither.differing) == (0, 0, 1)
    assert neither.reason == ("batch relation is missing: run duet batch; real-time view is missing: run duet deploy")
    fill_realtime(clickhouse, step, [["a"], ["b"]])
    [no_batch] = parity(settings, plan_of(step), clickhouse)
    assert (no_batch.rows_realtime, no_batch.differing, no_batch.reason) == (
        2, 2, "batch relation is missing: run duet batch",
    )  # fmt: skip
    fill_batch(settings, step, [["a"], ["b"]])
    assert parity(settings, plan_of(step), clickhouse)[0].differing == 0
    clickhouse.execute(f"DROP TABLE {step.relation}")
    [no_view] = parity(settings, plan_of(step), clickhouse)
    assert (no_view.rows_batch, no_view.differing, no_view.reason) == (
        2,
        2,
        "real-time view is missing: run duet deploy",
    )


def test_other_columns_types_and_failing_views(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    step = step_of(database, {"who": "VARCHAR", "n": "BIGINT"})
    fill_batch(settings, step_of(database, {"who": "VARCHAR", "n": "INTEGER"}), [["a", 1]])
    fill_realtime(clickhouse, step, [["a", 1]])
    [typed] = parity(settings, plan_of(step), clickhouse)
    assert typed.differing == 2
    assert typed.reason == "type differs: n is INTEGER in batch, BIGINT in the plan: run duet batch"
    fill_batch(settings, step, [["a", 1]])
    fill_realtime(clickhouse, step_of(database, {"who": "VARCHAR", "m": "BIGINT"}), [["a", 1]])
    [named] = parity(settings, plan_of(step), clickhouse)
    assert named.reason == "columns differ: real time lacks n and has m: run duet deploy"
    clickhouse.execute(f"DROP TABLE {step.relation}")
    clickhouse.execute(
        f"CREATE VIEW {step.relation} AS SELECT toNullable(toString(number)) AS who, "
        "CAST(throwIf(number = 3, 'no') AS Nullable(Int64)) AS n FROM numbers(5)"
    )
    [failing] = parity(settings, plan_of(step), clickhouse)
    assert failing.differing == 1
    assert failing.reason.startswith("real-time view can't be read: ")


def test_the_reason_is_what_was_not_run(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    orders = source(database, {"id": "BIGINT"})
    step = step_of(database, {"id": "BIGINT"}, depends_on="source.shop.shop.orders")
    plan = plan_of(step, orders)
    create(clickhouse, orders)
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(f"CREATE VIEW {step.relation} AS SELECT id FROM {orders.landing}")

    def build() -> None:
        create_lake_views(settings, plan)
        with open_batch(settings.project_dir / "warehouse.duckdb") as connection:
            connection.execute(f"CREATE OR REPLACE TABLE {step.batch} AS SELECT id FROM shop.orders")

    def reason() -> str:
        [found] = parity(settings, plan, clickhouse)
        return found.reason

    build()
    clickhouse.insert(orders.landing, ["id"], [[1], [2], [3]])
    assert reason() == "3 rows of shop.orders arrived since the last export: run duet export and duet batch"
    export(settings, plan, clickhouse)
    assert reason().endswith("only: run duet batch")
    build()
    assert reason() == ""
    clickhouse.execute(f"ALTER TABLE {orders.landing} DELETE WHERE id = 2", settings={"mutations_sync": 2})
    assert reason().startswith("the lake of source shop.orders holds 3 rows up to ")


def test_models_by_name(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    steps = [step_of(database, {"n": "BIGINT"}, name=name) for name in ("first", "second")]
    plan = Plan(project="shop", database=database, sources=(), steps=tuple(steps))
    assert [c.model for c in parity(settings, plan, clickhouse)] == ["first", "second"]
    assert [c.model for c in parity(settings, plan, clickhouse, ["second"])] == ["second"]
    with pytest.raises(NotFoundError, match=r"no model third .*[\s\S]*first, second"):
        parity(settings, plan, clickhouse, ("second", "third"))


def test_a_million_rows(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    step = step_of(database, {"id": "BIGINT", "who": "VARCHAR", "x": "DOUBLE"}, keys=("id",))
    rows = "SELECT {n} AS id, 'viewer ' || ({n} % 1000) AS who, {x} AS x FROM {origin}"
    with open_batch(settings.project_dir / "warehouse.duckdb") as connection:
        batch = rows.format(n="n", x="CAST(n AS DOUBLE) * 0.1", origin="range(1000000) AS t(n)")
        connection.execute(f"CREATE TABLE {step.batch} AS {batch}")
    clickhouse.execute(f"CREATE DATABASE {database}")
    # Every value of another rounding, one changed.
    realtime = rows.format(
        n="toInt64(number)", x="number * 0.1 * (1 + 1e-12) + if(number = 777777, 1, 0)", origin="numbers(1000000)"
    )
    clickhouse.execute(f"CREATE VIEW {step.relation} AS {realtime}")
    [found] = parity(settings, plan_of(step), clickhouse)
    assert (found.rows_batch, found.rows_realtime, found.differing) == (1_000_000, 1_000_000, 2)
    assert found.examples[0].differs == ("x",)
    assert list((settings.state_dir).glob("parity-*")) == []
