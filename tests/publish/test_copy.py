"""Batch rows of every type, copied into ClickHouse and read back; copies that fail or are killed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import duckdb
import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.replace import NEXT
from realtime.errors import ConfigError, NotBuiltError
from realtime.parity.compare import Compared, parity
from realtime.planner.ir import Plan, Step
from realtime.planner.planner import plan_project
from realtime.project.binder import table
from realtime.project.manifest import Model, Project
from realtime.publish.copy import as_of, copy_model
from realtime.settings import Settings

VALUES = [
    ("TINYINT", "-128"),
    ("UBIGINT", "18446744073709551615"),
    ("HUGEINT", "-170141183460469231731687303715884105728"),
    ("UHUGEINT", "340282366920938463463374607431768211455"),
    ("DECIMAL(38,9)", "-12345678901234567890123456789.123456789"),
    ("DECIMAL(18,18)", "0.123456789012345678"),
    ("FLOAT", "0.1"),
    ("DOUBLE", "5e-324"),
    ("DOUBLE", "'nan'"),
    ("DOUBLE", "'-inf'"),
    ("VARCHAR", "'it''s \\ \"日本\" 🦆\n\t' || chr(0)"),
    ("VARCHAR", "''"),
    ("BOOLEAN", "false"),
    ("DATE", "'1900-01-01'"),
    ("DATE", "'2299-12-31'"),
    ("TIMESTAMP", "'1969-12-31 23:59:59.999999'"),
    ("TIMESTAMP", "'2299-12-31 23:59:59.999999'"),
    ("TIMESTAMP_S", "'1900-01-01 00:00:01'"),
    ("TIMESTAMP_MS", "'1969-12-31 23:59:59.999'"),
    ("TIMESTAMP_NS", "'1969-12-31 23:59:59.999999999'"),
    ("TIMESTAMP_NS", "'2262-04-11 23:47:16.854775806'"),
    ("TIMESTAMP WITH TIME ZONE", "'2024-02-29 23:59:59.000001+05:30'"),
    ("TIME", "'23:59:59.999999'"),
    ("UUID", "'00112233-4455-6677-8899-aabbccddeeff'"),
    ("BLOB", "'\\xFF\\x00\\x80'::BLOB"),
    ("JSON", "'{\"a\": [1, null]}'"),
    ("ENUM('a', 'ö')", "'ö'"),
    ("VARCHAR[]", "['a', NULL, '']"),
    ("FLOAT[3]", "[0.1, -0.0, 3e38]"),
    ("STRUCT(v FLOAT[2])[]", "[{'v': [0.1, 2]}]"),
    ("HUGEINT[]", "[1, NULL, -170141183460469231731687303715884105728]"),
    ("UUID[][]", "[['00112233-4455-6677-8899-aabbccddeeff', NULL], []]"),
    ("DATE[]", "[DATE '1950-01-01', NULL]"),
    ("STRUCT(a UUID, b TIME[])", "{'a': NULL, 'b': ['10:00:00', NULL]}"),
    ("MAP(UUID, HUGEINT)", "map {'00112233-4455-6677-8899-aabbccddeeff': 1}"),
    ("MAP(INTEGER, STRUCT(a DATE, b HUGEINT))", "map {1: {'a': DATE '1950-01-01', 'b': 5}}"),
]
UNFIT = {
    "DATE": "'1899-12-31'",
    "TIMESTAMP": "'2300-01-01'",
    "TIMESTAMP_NS": "'1899-12-31 23:59:59'",
    "VARCHAR[]": "NULL",
    "INTEGER[][]": "[[1], NULL]",
    "FLOAT[2]": "NULL",
    "FLOAT[3]": "[1, NULL, 3]",
    "FLOAT[2][]": "[[1, 2], [NULL, 3]]",
    "STRUCT(a DATE)": "{'a': DATE '0001-01-01'}",
    "MAP(VARCHAR, TIMESTAMP[])": "map {'k': [TIMESTAMP 'infinity']}",
}


@dataclasses.dataclass
class Batch:
    """A project of one published model, ``m``, and its batch database."""

    settings: Settings
    client: ClickHouse
    database: str
    file: Path

    def plan(self, columns: dict[str, str], **options: object) -> Plan:
        """The plan where ``m`` has these columns; databases are there."""
        model = Model(
            "model.p.m", "m", "", table("m", "main", "warehouse"), (), {"mode": "published", **options}, "", {},
            "models/m.py", kind="Python model", types=columns,
        )  # fmt: skip
        outcome = plan_project(Project("p", "duckdb", {}, {"model.p.m": model}, (), ()), self.database)
        assert not outcome.refusals, str(outcome.refusals[0])
        for suffix in ("", "_state"):
            self.client.execute(f"CREATE DATABASE IF NOT EXISTS {self.database}{suffix}")
        return outcome.plan

    def build(self, sql: str) -> None:
        """Makes the batch relation."""
        with duckdb.connect(str(self.file)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"CREATE OR REPLACE TABLE m AS {sql}")

    def copy(self, step: Step) -> int:
        """Copies it, and makes the read view; how many rows that were."""
        copied = copy_model(self.settings, self.client, step, lambda *_: None)
        assert step.published is not None
        self.client.execute(f"CREATE OR REPLACE VIEW {step.relation} AS SELECT * FROM {step.published.relation}")
        return copied.rows

    def compared(self, plan: Plan) -> Compared:
        """The model on both sides."""
        (found,) = parity(self.settings, plan, self.client)
        return found

    def tables(self) -> list[str]:
        """What is in the database of states."""
        sql = f"SELECT name FROM system.tables WHERE database = '{self.database}_state'"
        return [row["name"] for row in self.client.rows(sql)]


@pytest.fixture
def batch(tmp_path: Path, clickhouse: ClickHouse, database: str) -> Batch:
    """A project's folder with a DuckDB file as target."""
    (tmp_path / "dbt_project.yml").write_text("name: p\nprofile: p\n")
    (tmp_path / "profiles.yml").write_text("p: {target: dev, outputs: {dev: {type: duckdb, path: warehouse.duckdb}}}\n")
    return Batch(Settings.load(tmp_path, {}), clickhouse, database, tmp_path / "warehouse.duckdb")


def _is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP"))


def test_every_type(batch: Batch) -> None:
    columns = {f"c {i}": kind for i, (kind, _) in enumerate(VALUES)}
    plan = batch.plan(columns, order_by="c 0")
    values = ", ".join(f'({value})::{kind} AS "c {i}"' for i, (kind, value) in enumerate(VALUES))
    nulls = ", ".join(f"({value if _is_nested(kind) else 'NULL'})::{kind}" for kind, value in VALUES)
    batch.build(f"SELECT {values} UNION ALL SELECT {nulls}")
    assert batch.copy(plan.steps[0]) == 2
    found = batch.compared(plan)
    assert (found.rows_realtime, found.differing, found.reason) == (2, 0, "")
    assert found.as_of is not None


@pytest.mark.parametrize("kind", UNFIT)
def test_a_value_that_clickhouse_does_not_hold_is_an_error(batch: Batch, kind: str) -> None:
    plan = batch.plan({"a": "INTEGER", "b": kind})
    empty = "[]" if kind.endswith("[]") else "map {}" if kind.startswith("MAP") else "NULL"
    empty = f"[{', '.join('0' * int(kind[6]))}]" if kind.endswith("]") and not kind.endswith("[]") else empty
    empty = "{'a': NULL}" if kind.startswith("STRUCT") else empty
    batch.build(f"SELECT 1 AS a, ({empty})::{kind} AS b")
    assert batch.copy(plan.steps[0]) == 1
    value = f"(CASE WHEN i = 150000 THEN {UNFIT[kind]} ELSE {empty} END)::{kind}"
    batch.build(f"SELECT i::INTEGER AS a, {value} AS b FROM range(200000) t(i)")
    with pytest.raises(ConfigError, match="model m: b = ") as caught:
        batch.copy(plan.steps[0])
    assert "mend the model" in caught.value.remedy
    assert batch.client.value(f"SELECT count() FROM {plan.steps[0].relation}") == 1


def test_a_copy_after_one_that_was_killed(batch: Batch) -> None:
    plan = batch.plan({"a": "BIGINT"})
    (step,) = plan.steps
    assert step.published is not None
    batch.build("SELECT * FROM range(70000) t(a)")
    batch.client.execute(f"CREATE TABLE {step.published.relation}{NEXT} (x String) ENGINE = MergeTree ORDER BY x")
    assert batch.copy(step) == 70_000
    batch.build("SELECT a + 1 AS a FROM range(10) t(a)")
    assert batch.copy(step) == 10
    assert batch.tables() == [step.published.relation.split(".")[1]]
    assert not batch.compared(plan).differing


def test_readers_see_the_rows_before_or_after(batch: Batch) -> None:
    plan = batch.plan({"a": "BIGINT"})
    (step,) = plan.steps
    seen = set()
    for i in range(6):
        batch.build(f"SELECT {i}::BIGINT AS a FROM range(1000)")
        batch.copy(step)
        row = batch.client.rows(f"SELECT count() AS n, min(a) AS low, max(a) AS high FROM {step.relation}")[0]
        assert (row["n"], row["low"], row["high"]) == (1000, i, i)
        seen.add(row["low"])
    assert seen == set(range(6))


def test_what_batch_does_not_have(batch: Batch) -> None:
    plan = batch.plan({"a": "BIGINT", "b": "VARCHAR"})
    with pytest.raises(NotBuiltError, match="model m is not built in batch: there is no batch database yet") as caught:
        batch.copy(plan.steps[0])
    assert caught.value.remedy == "build it first: duet batch"
    batch.build("SELECT 1::BIGINT AS a")
    with pytest.raises(NotBuiltError, match="columns differ: batch lacks b"):
        batch.copy(plan.steps[0])
    other = msgspec.structs.replace(plan.steps[0], batch='"warehouse"."main"."other"')
    with pytest.raises(NotBuiltError, match="there is no"):
        batch.copy(other)


def test_a_comment_of_something_else() -> None:
    assert as_of("made by hand") is None
