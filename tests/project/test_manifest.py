"""What is read of dbt's manifest: sources, models, tests, lambdas, and what each opted into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from realtime.errors import ConfigError
from realtime.project.manifest import Project, read_manifest


def _node(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "unique_id": f"{kind}.p.{name}",
        "resource_type": kind,
        "name": name,
        "schema": "main",
        "database": "warehouse",
        "compiled_code": f"select '{name}' as a",
        "raw_code": f"select '{name}' as a",
        "original_file_path": f"models/{name}.sql",
        "columns": {},
        "depends_on": {"nodes": []},
        "config": {"enabled": True},
        **more,
    }


SOURCE = {
    "unique_id": "source.p.app.events",
    "source_name": "app",
    "name": "events",
    "identifier": "events_v1",
    "schema": "app",
    "database": "warehouse",
    "original_file_path": "models/sources.yml",
    "columns": {n: {"name": n, "data_type": "varchar", "description": f"The {n}."} for n in ("a", "b", "c", "d")},
    "config": {"meta": {"realtime": {"event_time": "a"}}},
}


def _never_null(column: str, **config: Any) -> dict[str, Any]:
    return _node(
        "test",
        f"not_null_{column}",
        column_name=column,
        test_metadata={
            "name": "not_null",
            "kwargs": {"column_name": column, "model": "{{ get_where_subquery(source('app', 'events')) }}"},
        },
        depends_on={"nodes": ["source.p.app.events"]},
        config={"enabled": True, "severity": "ERROR", **config},
    )


def _read(tmp_path: Path, *nodes: dict[str, Any]) -> Project:
    manifest = {
        "metadata": {"project_name": "p", "adapter_type": "duckdb"},
        "nodes": {n["unique_id"]: n for n in nodes},
        "sources": {"source.p.app.events": SOURCE},
    }
    path = tmp_path / "target" / "manifest.json"
    path.parent.mkdir()
    path.write_text(json.dumps(manifest))
    return read_manifest(path)


def test_a_source(tmp_path: Path) -> None:
    tests = [_never_null("a"), _never_null("b", where="a > 1"), _never_null("c", severity="warn")]
    source = _read(tmp_path, *tests, _never_null("d", enabled=False)).sources["source.p.app.events"]
    assert source.name == "app.events"
    assert source.relation.sql("duckdb") == '"warehouse"."app"."events_v1"'
    assert source.not_null == ("a",)
    assert source.opted_in
    assert source.descriptions["b"] == "The b."


def test_models_in_order_and_what_opted_in(tmp_path: Path) -> None:
    def meta(value: Any, **config: Any) -> dict[str, Any]:
        return {"enabled": True, "meta": {"realtime": value}, **config}

    project = _read(
        tmp_path,
        _node("model", "a_mart", config=meta({"order_by": "a"}), depends_on={"nodes": ["model.p.z_stage"]}),
        _node("model", "z_stage", config=meta(True)),
        _node("model", "off", config=meta(False)),
        _node("model", "inlined", config=meta(True, materialized="ephemeral")),
        _node("model", "both", version=2, config=meta(True)),
        _node("seed", "seeded", config=meta(True)),
    )
    assert [m.name for m in project.realtime_models()] == ["z_stage", "a_mart", "both_v2", "seeded"]
    assert project.models["model.p.a_mart"].options == {"order_by": "a"}
    assert (project.models["seed.p.seeded"].kind, project.models["seed.p.seeded"].options) == ("seed", {})


def test_a_wrong_option_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models/m\.sql: meta\.realtime of m is 'yes'"):
        _read(tmp_path, _node("model", "m", config={"enabled": True, "meta": {"realtime": "yes"}}))


def test_lambdas_are_analyses_that_say_so(tmp_path: Path) -> None:
    meta = {"lambda": {"examples": [{"a": 1}]}}
    (query,) = _read(
        tmp_path, _node("analysis", "asked", config={"meta": meta}), _node("analysis", "explored", config={"meta": {}})
    ).queries
    assert query.name == "asked"
    assert query.options == {"examples": [{"a": 1}]}


def test_the_first_lines_of_the_file_are_kept(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.sql").write_text("\n\nselect 'm' as a\n")
    assert _read(tmp_path, _node("model", "m")).models["model.p.m"].raw == "\n\nselect 'm' as a\n"


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_manifest(tmp_path / "manifest.json")


def test_an_analysis_that_looks_like_a_lambda_is_named(tmp_path: Path) -> None:
    def analysis(name: str, folder: str, meta: Any, sql: str = "select 1") -> dict[str, Any]:
        config = {"enabled": True, "meta": meta}
        return _node("analysis", name, original_file_path=f"{folder}/{name}.sql", compiled_code=sql, config=config)

    param = 'select CAST($n /* duet.param {"name": "n", "type": "bigint"} */ AS bigint)'
    project = _read(
        tmp_path,
        analysis("called", "app", {"lambda": {}}),
        analysis("beside", "app", {}),
        analysis("off", "app", {"lambda": False}, param),
        analysis("first", "realtime/lambdas", {}),
        analysis("asking", "analyses", {}, param),
        analysis("plain", "analyses", {}),
    )
    assert [q.name for q in project.queries] == ["called"]
    assert project.unmarked == ("app/beside.sql", "realtime/lambdas/first.sql", "analyses/asking.sql")
