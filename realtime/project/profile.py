"""The project's dbt profile: where it is, what batch target it names, and its ClickHouse target if it has one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, TemplateError

from realtime.errors import ConfigError

_NATIVE = ("as_number", "as_bool", "as_native")


def profiles_dir(project_dir: Path) -> Path:
    """The folder of ``profiles.yml``: as dbt looks for it, and ``profiles/`` in the project."""
    given = os.environ.get("DBT_PROFILES_DIR")
    candidates = [Path(given)] if given else [project_dir, project_dir / "profiles", Path.home() / ".dbt"]
    for folder in candidates:
        if (folder / "profiles.yml").exists():
            return folder.resolve()
    raise ConfigError(
        f"no profiles.yml for the project in {project_dir}",
        remedy=f"write one to {candidates[0] / 'profiles.yml'}, or set DBT_PROFILES_DIR",
    )


def batch_target(project_dir: Path) -> Mapping[str, Any]:
    """The profile's default target, rendered: what ``dbt build`` uses. ConfigError where it is ClickHouse or none."""
    outputs, default = _outputs(project_dir)
    if default not in outputs:
        raise ConfigError(f"the profile has no target {default!r}", remedy=f"its targets are {', '.join(outputs)}")
    return outputs[default]


def clickhouse_target(project_dir: Path) -> Mapping[str, Any] | None:
    """The profile's target of type clickhouse; None where it has none."""
    outputs, _ = _outputs(project_dir)
    found = [o for o in outputs.values() if o.get("type") == "clickhouse"]
    return found[0] if found else None


def project_name(project_dir: Path) -> str:
    """``name`` of ``dbt_project.yml``; ConfigError where the folder holds no dbt project."""
    return str(_project_file(project_dir)["name"])


def duckdb_path(project_dir: Path) -> Path:
    """The batch database's file; ConfigError where the batch target is another warehouse or in memory."""
    target = batch_target(project_dir)
    path = str(target.get("path") or ":memory:")
    if target.get("type") != "duckdb" or path == ":memory:" or path.startswith("md:"):
        raise ConfigError(
            f"the batch target is {target.get('type')} at {path}; this command needs a DuckDB file",
            remedy="give the profile's DuckDB target a `path`, as in `path: warehouse.duckdb`",
        )
    return (project_dir / path).resolve()


def _project_file(project_dir: Path) -> Mapping[str, Any]:
    file = project_dir / "dbt_project.yml"
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{project_dir} holds no dbt project: {error}", remedy="give its folder: duet --project-dir DIR …"
        ) from None
    for key in ("name", "profile"):
        if not isinstance(content, dict) or not content.get(key):
            raise ConfigError(f"{file} has no `{key}`", remedy=f"add `{key}: …`")
    found: Mapping[str, Any] = content
    return found


def _outputs(project_dir: Path) -> tuple[Mapping[str, Mapping[str, Any]], str]:
    """The profile's targets by name, rendered, and the name of the default one."""
    name = _project_file(project_dir)["profile"]
    file = profiles_dir(project_dir) / "profiles.yml"
    try:
        profile = (yaml.safe_load(file.read_text()) or {}).get(name)
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise ConfigError(f"{file} can't be read: {error}", remedy="check its YAML") from None
    if not isinstance(profile, dict) or not _are_outputs(profile.get("outputs")):
        raise ConfigError(
            f"{file} has no profile {name!r} with outputs", remedy="see dbt's page on connection profiles"
        )
    outputs = {target: _rendered(fields, file) for target, fields in profile["outputs"].items()}
    return outputs, str(_rendered(profile.get("target", "default"), file))


def _are_outputs(found: Any) -> bool:
    return isinstance(found, dict) and bool(found) and all(isinstance(fields, dict) for fields in found.values())


def _rendered(value: Any, file: Path) -> Any:
    """``value`` with the Jinja that dbt allows in profiles: ``env_var`` and its filters."""
    if isinstance(value, dict):
        return {k: _rendered(v, file) for k, v in value.items()}
    if not isinstance(value, str) or "{{" not in value:
        return value
    environment = Environment(undefined=StrictUndefined)
    environment.filters |= dict.fromkeys((*_NATIVE, "as_text"), str)
    try:
        text = environment.from_string(value).render(env_var=_env_var)
        # As in dbt, what is rendered stays text unless the template says otherwise: a password may look like a number.
        return yaml.safe_load(text) if any(name in value for name in _NATIVE) else text
    except (TemplateError, KeyError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{file}: {value!r} can't be rendered: {error}", remedy="set the variable that it names"
        ) from None


def _env_var(name: str, default: str | None = None) -> str:
    found = os.environ.get(name, default)
    if found is None:
        raise KeyError(name)
    return found
