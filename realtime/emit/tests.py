"""The authored project's data tests, carried over to the generated one.

dbt's own generic tests are written again as YAML, so that dbt-clickhouse runs its own SQL. Others are compiled
from the batch dialect like a model (`custom_tests`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from realtime.planner.ir import Step
from realtime.project.manifest import Project, Test

BUILT_IN = frozenset({"unique", "not_null", "accepted_values", "relationships"})
_CONFIG = ("severity", "where", "limit", "error_if", "warn_if")
_DEFAULTS = {"severity": "ERROR", "error_if": "!= 0", "warn_if": "!= 0"}


def carried_tests(step: Step, project: Project, kept: Iterable[str]) -> tuple[list[Any], dict[str, list[Any]]]:
    """Built-in generic tests of ``step``'s model: on the model, and by column. ``kept`` are unique ids of models."""
    on_model: list[Any] = []
    on_columns: dict[str, list[Any]] = {}
    for test in sorted(project.tests, key=lambda t: t.unique_id):
        if test.attached != step.unique_id or not is_built_in(test) or not _reads_only(test, project, kept):
            continue
        entry = _entry(test)
        if test.column:
            on_columns.setdefault(test.column, []).append(entry)
        else:
            on_model.append(entry)
    return on_model, on_columns


def custom_tests(project: Project, kept: Iterable[str]) -> list[Test]:
    """Singular tests and generic ones of the author's own, over models that are kept only."""
    chosen = [t for t in project.tests if not is_built_in(t) and t.sql and _models(t, project)]
    return sorted((t for t in chosen if _reads_only(t, project, kept)), key=lambda t: t.unique_id)


def is_built_in(test: Test) -> bool:
    """Whether dbt ships this generic test."""
    metadata = test.metadata
    return metadata is not None and metadata.get("namespace") in (None, "dbt") and metadata["name"] in BUILT_IN


def _models(test: Test, project: Project) -> list[str]:
    return [u for u in test.depends_on if u in project.models]


def _reads_only(test: Test, project: Project, kept: Iterable[str]) -> bool:
    return set(_models(test, project)) <= set(kept)


def _entry(test: Test) -> Any:
    assert test.metadata is not None
    arguments = {k: v for k, v in test.metadata["kwargs"].items() if k not in ("model", "column_name")}
    given = {k: test.config.get(k) for k in _CONFIG}
    config = {k: v for k, v in given.items() if v is not None and _DEFAULTS.get(k) != v}
    body: dict[str, Any] = {}
    if arguments:
        body["arguments"] = arguments
    if config:
        body["config"] = config
    name: str = test.metadata["name"]
    return {name: body} if body else name


def file_name(test: Test) -> str:
    """The carried test's name, which dbt shows."""
    return test.name


def refs(metadata: Mapping[str, Any]) -> Any:
    """The arguments of a generic test as authored."""
    return metadata.get("kwargs")
