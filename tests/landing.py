"""Landing tables for tests: a source declared in a line, its table made, a project folder around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from realtime.clickhouse.client import ClickHouse
from realtime.emit.landing import create_landing
from realtime.planner.ir import Column, Plan, SourceSpec
from realtime.settings import Settings
from realtime.transpile.types import duck_type

PROJECT = "name: shop\nversion: '1.0'\nprofile: shop\nmodel-paths: [models]\n"
PROFILES = "shop:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: warehouse.duckdb, threads: 1}\n"


def source(
    database: str,
    columns: Mapping[str, str],
    *,
    name: str = "shop.orders",
    not_null: tuple[str, ...] = (),
    mode: str = "append",
    key: tuple[str, ...] = (),
    version: str = "",
    deleted: str = "",
) -> SourceSpec:
    """A source with DuckDB types; its batch relation is of the same name in ``warehouse.duckdb``."""
    schema, table = name.split(".")
    landing = f"{database}_raw.{schema}__{table}"
    return SourceSpec(
        name=name,
        landing=landing,
        quarantine=f"{landing}__quarantine",
        batch=f'"warehouse"."{schema}"."{table}"',
        columns=tuple(Column(n, t, duck_type(t).base) for n, t in columns.items()),
        not_null=not_null,
        mode=mode,
        key=key,
        version=version,
        deleted=deleted,
    )


def plan_of(database: str, *sources: SourceSpec) -> Plan:
    """A plan of sources alone."""
    return Plan(project="shop", database=database, sources=sources, steps=())


def create(client: ClickHouse, *sources: SourceSpec) -> None:
    """Makes the landing tables."""
    for spec in sources:
        client.execute(f"CREATE DATABASE IF NOT EXISTS {spec.landing.split('.')[0]}")
        client.execute(create_landing(spec), settings={"enable_time_time64_type": 1})


def project(folder: Path) -> Settings:
    """A dbt project without models whose batch target is ``warehouse.duckdb``."""
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(PROJECT)
    (folder / "profiles.yml").write_text(PROFILES)
    return Settings.load(folder, {})
