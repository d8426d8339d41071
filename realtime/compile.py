"""From the authored dbt project to ``target/realtime/``: what `duet compile` does."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from realtime.clickhouse.endpoint import cluster_name, database_name
from realtime.dialects.adapters import check_adapter
from realtime.errors import CommandError, ConfigError
from realtime.planner.ir import Plan
from realtime.project.dbt import check_installed, compile_dbt, run_dbt
from realtime.project.profile import batch_target, profiles_dir
from realtime.settings import Settings

if TYPE_CHECKING:
    from realtime.emit.warehouses.project import Emitted
    from realtime.planner.planner import Outcome

# What comes after dbt takes half a second to import: that is done while dbt works.
_AFTER_DBT = ("realtime.planner.ahead", "realtime.emit.project")


def compile_project(settings: Settings) -> Outcome:
    """Compiles the project and writes the generated one, unless a model is refused: then the old one stays.

    Raises CommandError where dbt itself fails, ConfigError where there is no project or profile.
    """
    root = settings.project_dir
    database = database_name(settings)
    manifest = _run_dbt_compile(root)
    from realtime.cache import Cache
    from realtime.emit.project import generate, write
    from realtime.planner.ahead import plan_ahead
    from realtime.planner.planner import plan_project
    from realtime.project.catalogs import check_database
    from realtime.project.manifest import read_manifest

    project = dataclasses.replace(read_manifest(manifest), cluster=cluster_name(settings))
    check_database(project)
    cache = Cache(root / "target" / "compiled.duet")
    plan_ahead(project, database, cache)
    outcome = plan_project(project, database, cache)
    cache.save()
    if not outcome.refusals:
        write(settings.realtime_dir, generate(outcome.plan))
    return outcome


def compile_for(settings: Settings, target: str) -> Emitted:
    """Emits the project for another warehouse to ``target/<target>/``, unless a model is refused."""
    from realtime.cache import Cache
    from realtime.emit.project import write
    from realtime.emit.warehouses.project import emit, find_warehouse
    from realtime.project.manifest import read_manifest

    warehouse = find_warehouse(target)
    project = read_manifest(_run_dbt_compile(settings.project_dir))
    cache = Cache(settings.project_dir / "target" / f"{warehouse.name}.duet")
    emitted = emit(project, warehouse, cache)
    cache.save()
    if not emitted.refusals:
        write(settings.realtime_dir.parent / warehouse.name, dict(emitted.files))
    return emitted


def load_plan(settings: Settings) -> Plan:
    """The plan of the last compile; ConfigError where there is none."""
    file = settings.realtime_dir / "plan.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=Plan)
    except OSError:
        raise ConfigError(f"{settings.project_dir} is not compiled", remedy="run `duet compile`") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file} is not a plan of this version: {error}", remedy="run `duet compile`") from None


def _run_dbt_compile(root: Path) -> Path:
    """Runs ``dbt compile`` on the batch target; the path of its manifest."""
    adapter = str(batch_target(root).get("type"))
    check_adapter(adapter)
    check_installed(adapter)
    manifest = root / "target" / "manifest.json"
    if (root / "packages.yml").exists() and not (root / "dbt_packages").exists():
        run_dbt(["deps"], root, profiles_dir(root))
    compile_dbt(root, profiles_dir(root), lambda: [importlib.import_module(name) for name in _AFTER_DBT])
    if not manifest.exists():
        raise CommandError(f"dbt compile left no {manifest}", remedy="keep `target-path: target` in dbt_project.yml")
    return manifest
