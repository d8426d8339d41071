"""The generated project: run by stock dbt-clickhouse on real tables, the same to the byte every time."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.emit.project import generate, write
from realtime.errors import CommandError
from realtime.planner.ir import Plan
from realtime.planner.planner import plan_project
from realtime.project.dbt import run_dbt
from realtime.project.manifest import Project, read_manifest

AUTHORED = {
    "dbt_project.yml": """
name: authored
profile: authored
models: {+meta: {realtime: true}}
flags: {send_anonymous_usage_stats: false}
""",
    "profiles.yml": "authored: {target: dev, outputs: {dev: {type: duckdb, path: ':memory:'}}}",
    "models/sources.yml": """
sources:
  - name: app
    tables:
      - name: events
        description: What happened.
        columns:
          - {name: id, data_type: varchar, description: The event., data_tests: [not_null, unique]}
          - {name: kind, data_type: varchar, data_tests: [{accepted_values: {arguments: {values: [a, b]}}}]}
          - {name: n, data_type: integer, data_tests: [{not_null: {config: {severity: warn}}}]}
      - name: users
        config:
          meta: {realtime: {mode: upsert, key: id, version: version, deleted: gone}}
        columns:
          - {name: id, data_type: varchar, data_tests: [not_null, unique]}
          - {name: version, data_type: bigint}
          - {name: gone, data_type: boolean}
""",
    "models/events.sql": """
{{ config(
    materialized='view'
) }}
select id, kind, n from {{ source('app', 'events') }}
""",
    "models/kinds.sql": "select kind, count(*) as events, sum(n) as total from {{ ref('lively') }} group by kind",
    "models/lively.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('events') }} where n > 0",
    "models/users.sql": "select id, version from {{ source('app', 'users') }}",
    "models/models.yml": """
models:
  - name: events
    description: One row per event, its "kind" and {{ doc('n') }} — äöü.
    columns:
      - {name: id, description: The event., data_tests: [unique]}
      - name: kind
        data_tests:
          - accepted_values: {arguments: {values: [a, b]}}
          - relationships: {arguments: {to: ref('kinds'), field: kind}, config: {where: n > 0, severity: warn}}
  - name: kinds
    columns:
      - {name: kind, data_tests: [unique, {relationships: {arguments: {to: "source('app', 'events')", field: kind}}}]}
      - {name: total, data_tests: [positive]}
""",
    "models/docs.md": "{% docs n %}a number{% enddocs %}",
    "macros/positive.sql": """
{% test positive(model, column_name) %}
select * from {{ model }} where {{ column_name }} <= 0
{% endtest %}
""",
    "tests/no_more_totals_than_events.sql": """
{{ config(severity='warn') }}
select * from {{ ref('kinds') }} where total > events
""",
    "tests/by_chance.sql": "select * from {{ ref('kinds') }} where random() > 1",
}


@pytest.fixture(scope="module")
def authored(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that dbt compiled for DuckDB."""
    root = tmp_path_factory.mktemp("authored")
    for path, text in AUTHORED.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    run_dbt(["compile"], root, root)
    return read_manifest(root / "target" / "manifest.json")


def _plan(project: Project, database: str) -> Plan:
    outcome = plan_project(project, database)
    assert not outcome.refusals, "\n".join(map(str, outcome.refusals))
    return outcome.plan


def test_runs_with_stock_dbt(
    authored: Project, clickhouse: ClickHouse, endpoint: Endpoint, database: str, tmp_path: Path
) -> None:
    plan = _plan(authored, database)
    root = tmp_path / "target" / "realtime"
    write(root, generate(plan))
    for suffix in ("", "_raw", "_state"):
        clickhouse.execute(f"CREATE DATABASE {database}{suffix}")
    tables = [spec.landing for spec in plan.sources] + [state.relation for step in plan.steps for state in step.states]
    for name in tables:
        for statement in (root / "ddl" / f"{name.split('.')[1]}.sql").read_text().removesuffix(";\n").split(";\n\n"):
            clickhouse.execute(statement)
    events, users = f"{database}_raw.app__events", f"{database}_raw.app__users"
    clickhouse.execute(f"INSERT INTO {events} (id, kind, n) VALUES ('1', 'a', 5), ('2', 'b', 2), ('3', 'a', -1)")
    clickhouse.execute(
        f"INSERT INTO {users} (id, version, gone) VALUES ('u', 1, false), ('u', 2, NULL), ('v', 1, true)"
    )
    environment = endpoint.environment(database)
    run_dbt(["build"], root, root, environment=environment)
    kinds = clickhouse.rows(f"SELECT * FROM {database}.kinds ORDER BY kind")
    assert kinds == [{"kind": "a", "events": 1, "total": 5}, {"kind": "b", "events": 1, "total": 2}]
    assert clickhouse.rows(f"SELECT * FROM {database}.users") == [{"id": "u", "version": 2}]
    clickhouse.execute(f"INSERT INTO {events} (id, kind, n) VALUES ('1', 'c', 7)")
    with pytest.raises(CommandError) as failed:
        run_dbt(["test"], root, root, environment=environment)
    for name in ("unique_events_id", "accepted_values_events_kind", "source_unique_landing_app__events_id"):
        assert name in str(failed.value)


def test_tests_are_carried(authored: Project) -> None:
    plan = _plan(authored, "x")
    contents = generate(plan)
    events = yaml.safe_load(contents["models/events.yml"])["models"][0]
    assert events["columns"][0]["data_tests"] == ["unique"]
    assert events["columns"][1]["data_tests"] == [{"accepted_values": {"arguments": {"values": ["a", "b"]}}}]
    kinds = yaml.safe_load(contents["models/kinds.yml"])["models"][0]
    to = {"to": "source('landing', 'app__events')", "field": "kind"}
    assert kinds["columns"][0]["data_tests"] == [{"relationships": {"arguments": to}}, "unique"]
    custom = {t.name.split("_kind__")[0]: t for t in plan.tests}
    assert {name for name in custom if not name.startswith("source_")} == {
        "relationships_events",
        "positive_kinds_total",
        "no_more_totals_than_events",
        "by_chance",
    }
    assert custom["relationships_events"].config == {"severity": "warn"}
    assert custom["no_more_totals_than_events"].config == {"severity": "warn"}
    assert "it depends on chance" in custom["by_chance"].reason
    assert "tests/by_chance.sql" not in contents
    assert "{{ ref('kinds') }}" in contents["tests/positive_kinds_total.sql"]


def test_documentation_is_carried(authored: Project) -> None:
    contents = generate(_plan(authored, "x"))
    events = yaml.safe_load(contents["models/events.yml"])["models"][0]
    assert events["description"] == 'One row per event, its "kind" and a number — äöü.'
    assert events["columns"][0]["description"] == "The event."
    landing = yaml.safe_load(contents["models/_sources.yml"])["sources"][0]["tables"][0]
    assert landing["description"] == "What happened."
    assert landing["columns"][0]["data_tests"] == ["not_null", "unique"]


def test_upserted_sources_are_tested_by_their_newest_rows(authored: Project) -> None:
    contents = generate(_plan(authored, "x"))
    users = yaml.safe_load(contents["models/_sources.yml"])["sources"][0]["tables"][1]
    assert users["name"] == "app__users"
    assert not any("data_tests" in column for column in users["columns"])
    assert "{{ source('landing', 'app__users') }} FINAL" in contents["tests/source_unique_app_users_id.sql"]


def test_the_same_to_the_byte(authored: Project) -> None:
    first, second = (generate(_plan(authored, "x")) for _ in range(2))
    assert first == second
    assert list(first) == list(second)


def test_the_plan_survives_json(authored: Project) -> None:
    plan = _plan(authored, "x")
    written = generate(plan)["plan.json"]
    assert msgspec.json.decode(written, type=Plan) == plan


def test_writing_replaces_everything_but_what_dbt_keeps(tmp_path: Path) -> None:
    root = tmp_path / "target" / "realtime"
    write(root, {"models/old.sql": "select 1"})
    (root / "target").mkdir()
    (root / "target" / "partial_parse.msgpack").write_bytes(b"")
    write(root, {"models/new.sql": "select 2"})
    found = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    assert found == ["models/new.sql", "target/partial_parse.msgpack"]
    assert [p.name for p in root.parent.iterdir()] == ["realtime"]
