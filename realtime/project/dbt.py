"""Runs dbt as its own process: two adapters in one process share state, and dbt logs as it likes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from realtime.errors import CommandError, ConfigError

# What a caller set for a dbt of its own: another target or folder would mix two projects up.
_OF_THE_CALLER = frozenset({"DBT_TARGET", "DBT_PROFILE", "DBT_TARGET_PATH", "DBT_LOG_PATH"})


def check_installed(adapter: str) -> None:
    """ConfigError where dbt has no ``adapter`` in this environment."""
    if importlib.util.find_spec(f"dbt.adapters.{adapter}") is None:
        raise ConfigError(
            f"the profile's target is of type {adapter}, and dbt-{adapter} is not installed",
            remedy=f"install it beside Duet: {sys.executable} -m pip install dbt-{adapter}",
        )


_DBT = "from realtime.project.parent import end_with_parent; end_with_parent(); from dbt.cli.main import cli; cli()"


def run_dbt(
    arguments: Sequence[str],
    project_dir: Path,
    profiles_dir: Path,
    *,
    environment: Mapping[str, str] | None = None,
    quiet: bool = True,
) -> str:
    """Runs ``dbt <arguments>`` on a project and returns what it printed (empty where it is passed through).

    ``quiet`` keeps dbt's output unless it fails. CommandError with the lines that matter otherwise.
    """
    # Not `-m dbt.cli.main`: its package imports that module first, and Python warns about it on every run.
    command = ["-P", "-c", _DBT, "--no-use-colors", *arguments]
    return _run(f"dbt {arguments[0]}", command, project_dir, profiles_dir, environment or {}, quiet)


def compile_dbt(project_dir: Path, profiles_dir: Path, meanwhile: Callable[[], object]) -> None:
    """Leaves ``target/manifest.json`` with the compiled SQL of all that Duet reads (`realtime.project.rendering`).

    ``meanwhile`` is called while dbt works.
    """
    command = ["-P", "-m", "realtime.project.rendering"]
    _run("dbt compile", command, project_dir, profiles_dir, {}, True, meanwhile)


def dbt_environment() -> dict[str, str]:
    """The environment of a process that runs dbt."""
    env = {name: value for name, value in os.environ.items() if name not in _OF_THE_CALLER}
    return env | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_TARGET_PATH": "target"}


def _run(
    title: str,
    command: Sequence[str],
    project_dir: Path,
    profiles_dir: Path,
    environment: Mapping[str, str],
    quiet: bool,
    meanwhile: Callable[[], object] = lambda: None,
) -> str:
    folders = ["--project-dir", str(project_dir), "--profiles-dir", str(profiles_dir)]
    env = {**dbt_environment(), **environment}
    with subprocess.Popen(
        [sys.executable, *command, *folders], cwd=project_dir, env=env, text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None,
    ) as dbt:  # fmt: skip
        meanwhile()
        printed, _ = dbt.communicate()
    if dbt.returncode:
        raise CommandError(
            f"{title} failed in {project_dir.name}" + _what_matters(printed or ""),
            remedy=f"the whole log is {project_dir / 'logs' / 'dbt.log'}",
        )
    return printed or ""


def _what_matters(output: str) -> str:
    """The error lines of dbt's output, each once, indented."""
    # What dbt did not foresee (a cycle, a file that is no UTF-8) it says before the traceback that it prints too.
    said = output.partition("Traceback (most recent call last)")[0]
    lines = [line.split("  ", 1)[-1].rstrip() for line in said.splitlines()]
    marks = ("error", "fail", "warn")
    start = next((i for i, line in enumerate(lines) if any(m in line.lower() for m in marks)), max(0, len(lines) - 15))
    chosen = [line for line in lines[start:] if line.strip()][:40]
    return ":\n" + "\n".join(f"  {line}" for line in chosen) if chosen else ""
