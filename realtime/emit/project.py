"""The plan as a dbt project for ClickHouse: readable models with ``ref()``, docs and tests, the same to the byte
on every run, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from realtime.emit.ddl import create_published, refresh_ddl, state_ddl
from realtime.emit.jinja import escaped
from realtime.emit.kafka import connect_ddl
from realtime.emit.landing import landing_ddl
from realtime.emit.tests import tests_on
from realtime.planner.ir import Column, DataTest, Plan, SourceSpec, Step

PROFILE = "duet_realtime"
Files = dict[str, str]


def generate(plan: Plan) -> Files:
    """Path below ``target/realtime/`` → text."""
    out: Files = {
        "dbt_project.yml": _yaml(_project_file(plan)),
        "profiles.yml": _PROFILES,
        "plan.json": msgspec.json.format(msgspec.json.encode(plan)).decode() + "\n",
        "models/_sources.yml": _yaml(_sources_file(plan)),
    }
    for source in plan.sources:
        name = source.landing.split(".")[1]
        out[f"ddl/{name}.sql"] = _statements(landing_ddl(source))
        if source.kafka is not None:
            out[f"ddl/{name}__kafka.sql"] = _statements(connect_ddl(source, source.kafka))
    for step in plan.steps:
        out[f"models/{step.model}.sql"] = _model_file(step)
        out[f"models/{step.model}.yml"] = _yaml(_model_properties(step, plan))
        for state in step.states:
            out[f"ddl/{state.relation.split('.')[1]}.sql"] = _statements(state_ddl(state))
        if step.refresh is not None:
            out[f"ddl/{step.refresh.relation.split('.')[1]}.sql"] = _statements(refresh_ddl(step.refresh))
        if step.published is not None:
            relation = step.published.relation
            out[f"ddl/{relation.split('.')[1]}.sql"] = _statements([create_published(step.published, step.columns)])
    for test in plan.tests:
        if test.select:
            out[f"tests/{test.name}.sql"] = _test_file(test)
    return out


def _statements(ddl: list[str]) -> str:
    return ";\n\n".join(ddl) + ";\n"


def write(root: Path, contents: Files) -> None:
    """Replaces ``root`` by ``contents``: written aside, then swapped in; what dbt keeps in ``root/target`` stays."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".realtime-", dir=root.parent) as aside:
        fresh, old = Path(aside) / "fresh", Path(aside) / "old"
        fresh.mkdir()
        for path, text in contents.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).write_text(text, encoding="utf-8")
        for kept in ("target", "logs"):
            if (root / kept).exists():
                os.rename(root / kept, fresh / kept)
        if root.exists():
            os.rename(root, old)
        os.rename(fresh, root)


def _project_file(plan: Plan) -> Mapping[str, Any]:
    return {
        "name": PROFILE,
        "version": "1.0",
        "profile": PROFILE,
        "model-paths": ["models"],
        "test-paths": ["tests"],
        "models": {PROFILE: {"+materialized": "view"}},
        "flags": {"send_anonymous_usage_stats": False},
        "vars": {"project": plan.project},
    }


# Filled in by `duet`, so that the same files run against any server.
_PROFILES = """\
duet_realtime:
  target: clickhouse
  outputs:
    clickhouse:
      type: clickhouse
      driver: http
      host: "{{ env_var('DUET_CLICKHOUSE_HOST', '127.0.0.1') }}"
      port: "{{ env_var('DUET_CLICKHOUSE_PORT', '18123') | as_number }}"
      secure: "{{ env_var('DUET_CLICKHOUSE_SECURE', 'False') | as_bool }}"
      user: "{{ env_var('DUET_CLICKHOUSE_USER', 'default') }}"
      password: "{{ env_var('DUET_CLICKHOUSE_PASSWORD', '') }}"
      schema: "{{ env_var('DUET_CLICKHOUSE_DATABASE') }}"
      threads: 4
"""


def _sources_file(plan: Plan) -> Mapping[str, Any]:
    named = {state.whole: state for step in plan.steps for state in step.states}
    states = [(r, f"State of {', '.join(s.models) or s.name}.") for r, s in named.items()]
    states += [(s.refresh.relation, f"Rows of {s.model}, refreshed.") for s in plan.steps if s.refresh is not None]
    states += [(s.published.relation, f"Rows of {s.model}, copied.") for s in plan.steps if s.published is not None]
    landing = [_landing_properties(source, plan) for source in plan.sources]
    sources = [{"name": "landing", "schema": f"{plan.database}_raw", "tables": landing}]
    if states:
        tables = [{"name": relation.split(".")[1], "description": words} for relation, words in states]
        sources.append({"name": "state", "schema": f"{plan.database}_state", "tables": tables})
    return {"version": 2, "sources": sources}


def _landing_properties(source: SourceSpec, plan: Plan) -> Mapping[str, Any]:
    description = escaped(source.description) or f"Rows of source {source.name} as they came."
    on_it, on_columns = tests_on(source.unique_id, plan)
    columns = [_column_properties(c, on_columns) for c in source.columns]
    table: dict[str, Any] = {"name": source.whole.split(".")[1], "description": description, "columns": columns}
    if on_it:
        table["data_tests"] = on_it
    return table


def _column_properties(column: Column, tests: Mapping[str, list[Any]]) -> Mapping[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "data_type": column.clickhouse}
    if column.description:
        entry["description"] = escaped(column.description)
    if tests.get(column.name):
        entry["data_tests"] = tests[column.name]
    return entry


def _model_file(step: Step) -> str:
    return f"-- {step.model}: {step.shape}, {step.why}\n{step.select}\n"


def _model_properties(step: Step, plan: Plan) -> Mapping[str, Any]:
    on_model, on_columns = tests_on(step.unique_id, plan)
    columns = [_column_properties(c, on_columns) for c in step.columns]
    model: dict[str, Any] = {"name": step.model, "description": escaped(step.description), "columns": columns}
    model["config"] = {"meta": {"duet": {"shape": str(step.shape), "model": step.unique_id}}}
    if on_model:
        model["data_tests"] = on_model
    return {"version": 2, "models": [model]}


def _test_file(test: DataTest) -> str:
    config = ", ".join(f"{name}={value!r}" for name, value in sorted(test.config.items()))
    head = f"{{{{ config({config}) }}}}\n" if config else ""
    return f"{head}-- {test.name}: carried over from the authored project\n{test.select}\n"


def _yaml(content: Mapping[str, Any]) -> str:
    text: str = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    return text
