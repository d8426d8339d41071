"""What the code location is made from: the plan and the manifests of both dbt projects, brought up to date."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestration.keys import source_name
from realtime.clickhouse.endpoint import database_name
from realtime.compile import compile_project, load_plan
from realtime.errors import ConfigError
from realtime.planner.ir import Plan
from realtime.project.dbt import run_dbt
from realtime.settings import Settings
from realtime.turn import BATCH, turn

# Apart from where deploying keeps its own, so that neither sees the other's half-written artifacts.
REALTIME_TARGET = Path("target") / "orchestration"
_PATHS = {
    "model-paths": "models", "macro-paths": "macros", "seed-paths": "seeds", "snapshot-paths": "snapshots",
    "test-paths": "tests", "analysis-paths": "analyses",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A compiled project. ``batch`` and ``realtime`` are dbt's manifests of the authored and the generated project."""

    settings: Settings
    plan: Plan
    batch: Mapping[str, Any]
    realtime: Mapping[str, Any]

    @property
    def fed_by_lake(self) -> bool:
        """Whether the batch engine reads the sources from the lake; other warehouses are fed otherwise."""
        return bool(self.batch["metadata"]["adapter_type"] == "duckdb")

    @property
    def source_nodes(self) -> Mapping[str, Mapping[str, Any]]:
        """The authored project's sources in dbt's manifest, by ``<source>.<table>``."""
        return {source_name(node): node for node in self.batch["sources"].values()}


def prepare(settings: Settings) -> Prepared:
    """Compiles what changed since the last compile, and reads the results.

    ConfigError where a model is refused or the project is wrong, CommandError where dbt fails on it.
    """
    with turn(settings, BATCH):
        if is_stale(settings):
            _compile(settings)
        plan = load_plan(settings)
        realtime = _parse_generated(settings, plan)
    return Prepared(
        settings=settings, plan=plan, batch=_read(settings.project_dir / "target" / "manifest.json"), realtime=realtime
    )


def is_stale(settings: Settings) -> bool:
    """Whether the authored project changed after ``plan.json``, or there is none for this database."""
    plan = settings.realtime_dir / "plan.json"
    manifest = settings.project_dir / "target" / "manifest.json"
    if not plan.exists() or not manifest.exists():
        return True
    if load_plan(settings).database != database_name(settings):
        return True
    compiled = plan.stat().st_mtime
    return any(path.stat().st_mtime > compiled for path in project_files(settings.project_dir))


def project_files(root: Path) -> Iterator[Path]:
    """Every file and folder that ``dbt compile`` reads; a folder stands for files that came or went."""
    project = root / "dbt_project.yml"
    yield from (f for f in (project, root / "packages.yml", root / "dependencies.yml") if f.exists())
    content = yaml.safe_load(project.read_text()) if project.exists() else None
    options = content if isinstance(content, dict) else {}
    for option, default in _PATHS.items():
        for folder in options.get(option) or [default]:
            for path, _, names in os.walk(root / folder):
                yield Path(path)
                yield from (Path(path) / name for name in names)


def _compile(settings: Settings) -> None:
    refusals = compile_project(settings).refusals
    if refusals:
        others = f"\n  and {len(refusals) - 1} more" if len(refusals) > 1 else ""
        raise ConfigError(
            f"the project does not compile: {refusals[0]}{others}",
            remedy="`duet compile` lists all refusals; correct them and reload the definitions",
        )


def _parse_generated(settings: Settings, plan: Plan) -> Mapping[str, Any]:
    """The generated project's manifest; parsing reads no server."""
    root = settings.realtime_dir
    manifest = root / REALTIME_TARGET / "manifest.json"
    if not manifest.exists() or manifest.stat().st_mtime < (root / "plan.json").stat().st_mtime:
        arguments = ["parse", "--target-path", str(REALTIME_TARGET)]
        run_dbt(arguments, root, root, environment={"DUET_CLICKHOUSE_DATABASE": plan.database})
    return _read(manifest)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        manifest: Mapping[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}", remedy="run `duet compile`") from None
    return manifest
