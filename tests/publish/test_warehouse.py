"""A published model of a Postgres project, read through dbt's adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.errors import NotBuiltError
from realtime.planner.ir import Step
from realtime.planner.planner import plan_project
from realtime.project.binder import table
from realtime.project.manifest import Model, Project
from realtime.publish.copy import copy_model
from realtime.settings import Settings
from tests.postgres import Postgres

COLUMNS = {
    "id": "bigint",
    "Price": "numeric(12,2)",
    "big": "numeric(38,0)",
    "x": "double precision",
    "words": "text",
    "day": "date",
    "at": "timestamptz",
    "at_local": "timestamp",
    "uid": "uuid",
    "flag": "boolean",
}
ROWS = """
SELECT 1::bigint AS id, 12.30::numeric(12,2) AS "Price", 12345678901234567890123456789012345678::numeric(38,0) AS big,
  0.1::float8 AS x, 'it''s "日本"' AS words, date '1950-01-01' AS day,
  timestamptz '2024-02-29 23:59:59.000001+05:30' AS at,
  timestamp '1969-12-31 23:59:59.999999' AS at_local,
  '00112233-4455-6677-8899-aabbccddeeff'::uuid AS uid, false AS flag
UNION ALL
SELECT i, NULL, NULL, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL FROM generate_series(2, 25000) AS t(i)
"""


@pytest.fixture
def settings(tmp_path: Path, postgres: Postgres) -> Settings:
    """A project's folder whose target is the server."""
    (tmp_path / "dbt_project.yml").write_text("name: p\nprofile: p\n")
    target = f"type: postgres, host: {postgres.folder}, user: {postgres.user}, password: '', port: 5432"
    (tmp_path / "profiles.yml").write_text(
        f"p: {{target: dev, outputs: {{dev: {{{target}, dbname: postgres, schema: public, threads: 1}}}}}}\n"
    )
    return Settings.load(tmp_path, {})


def _step(clickhouse: ClickHouse, database: str) -> Step:
    model = Model(
        "model.p.m", "m", "select something_only_postgres_has()", table("m", "public", "postgres"), (),
        {"mode": "published"}, "", {}, "models/m.sql", types=COLUMNS,
    )  # fmt: skip
    outcome = plan_project(Project("p", "postgres", {}, {"model.p.m": model}, (), ()), database)
    assert not outcome.refusals, str(outcome.refusals[0])
    clickhouse.execute(f"CREATE DATABASE IF NOT EXISTS {database}_state")
    return outcome.plan.steps[0]


def test_postgres(settings: Settings, postgres: Postgres, clickhouse: ClickHouse, database: str) -> None:
    step = _step(clickhouse, database)
    assert step.published is not None
    postgres.execute(f"CREATE TABLE public.m AS {ROWS};")
    seen: list[tuple[int, int]] = []
    copied = copy_model(settings, clickhouse, step, lambda done, total: seen.append((done, total)))
    assert copied.rows == 25_000
    assert seen[0] == (0, 25_000)
    assert seen[-1] == (25_000, 25_000)
    first, second = clickhouse.rows(
        f"SELECT * REPLACE (toString(x) AS x, toString(at) AS at, toString(at_local) AS at_local, "
        f"toString(day) AS day, toString(uid) AS uid, toString(Price) AS Price) "
        f"FROM {step.published.relation} WHERE id <= 2 ORDER BY id"
    )
    assert first == {
        "id": 1, "Price": "12.3", "big": 12345678901234567890123456789012345678, "x": "0.1", "words": 'it\'s "日本"',
        "day": "1950-01-01", "at": "2024-02-29 18:29:59.000001", "at_local": "1969-12-31 23:59:59.999999",
        "uid": "00112233-4455-6677-8899-aabbccddeeff",
        "flag": False,
    }  # fmt: skip
    assert second == {**dict.fromkeys(first), "id": 2, "x": "nan"}
    postgres.execute("ALTER TABLE public.m RENAME COLUMN flag TO flags;")
    with pytest.raises(NotBuiltError, match=r"it has the columns .*, flags, and should have .*, flag"):
        copy_model(settings, clickhouse, step, lambda *_: None)
    assert clickhouse.value(f"SELECT count() FROM {step.published.relation}") == 25_000
