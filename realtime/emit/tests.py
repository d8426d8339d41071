"""The authored project's data tests, carried over to the generated one.

dbt's own generic tests are written again as YAML, so that dbt-clickhouse runs its own SQL. Others are compiled
from the batch dialect like a model (`realtime.planner.data_tests`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from realtime.planner.ir import ALL, CarriedTest, Plan
from realtime.project.manifest import Project, Test

BUILT_IN = frozenset({"unique", "not_null", "accepted_values", "relationships"})
_CONFIG = ("severity", "limit", "error_if", "warn_if", "fail_calc")
_DEFAULTS = {"severity": "ERROR", "error_if": "!= 0", "warn_if": "!= 0", "fail_calc": "count(*)"}
_SOURCE = re.compile(r"""source\(\s*['"](\w+)['"]\s*,\s*['"](\w+)['"]\s*\)""")
Properties = tuple[list[Any], dict[str, list[Any]]]


def carried_tests(project: Project, kept: Collection[str]) -> tuple[CarriedTest, ...]:
    """Built-in generic tests. ``kept`` are the unique ids that ClickHouse keeps; a test that reads anything else
    stays behind."""
    chosen = [t for t in project.tests if t.attached and as_it_is(t, project) and set(t.depends_on) <= set(kept)]
    return tuple(_carried(test, bool(project.cluster)) for test in sorted(chosen, key=lambda t: t.unique_id))


def tests_on(unique_id: str, plan: Plan) -> Properties:
    """The built-in tests of a model or source as dbt's YAML has them: on it, and by column."""
    on_it: list[Any] = []
    on_columns: dict[str, list[Any]] = {}
    for test in plan.carried:
        if test.on == unique_id:
            (on_columns.setdefault(test.column, []) if test.column else on_it).append(_entry(test))
    return on_it, on_columns


def custom_tests(project: Project, kept: Collection[str]) -> list[Test]:
    """Singular tests and generic ones that dbt-clickhouse can't run as they are, over what is kept only."""
    chosen = [t for t in project.tests if not as_it_is(t, project) and t.sql and t.depends_on]
    return sorted((t for t in chosen if set(t.depends_on) <= set(kept)), key=lambda t: t.unique_id)


def as_it_is(test: Test, project: Project) -> bool:
    """Whether dbt-clickhouse can run the test by its name: dbt ships it, and it holds no SQL of the batch dialect
    (``where``). A landing table of upserts keeps old versions too: what reads one is compiled, to read the newest."""
    metadata = test.metadata
    if metadata is None or test.config.get("where") or any(_is_upserted(u, project) for u in test.depends_on):
        return False
    return metadata.get("namespace") in (None, "dbt") and metadata["name"] in BUILT_IN


def _is_upserted(unique_id: str, project: Project) -> bool:
    return unique_id in project.sources and project.sources[unique_id].options.get("mode") == "upsert"


def judged_by(test: Test) -> dict[str, Any]:
    """The test's configuration, as far as it differs from dbt's defaults."""
    given = {k: test.config.get(k) for k in _CONFIG}
    return {k: v for k, v in given.items() if v is not None and _DEFAULTS.get(k) != v}


def carried_arguments(test: Test, sharded: bool) -> dict[str, Any]:
    """The arguments of a built-in test as the generated project has them, without what it is on; where it is
    ``sharded``, with the tables over all shards."""
    assert test.metadata is not None
    return {
        k: _renamed(v, ALL if sharded else "")
        for k, v in test.metadata["kwargs"].items()
        if k not in ("model", "column_name")
    }


def _carried(test: Test, sharded: bool) -> CarriedTest:
    assert test.metadata is not None
    return CarriedTest(
        on=test.attached,
        name=test.metadata["name"],
        column=test.column,
        arguments=carried_arguments(test, sharded),
        config=judged_by(test),
        depends_on=test.depends_on,
    )


def _entry(test: CarriedTest) -> Any:
    body = {name: value for name, value in (("arguments", test.arguments), ("config", test.config)) if value}
    return {test.name: body} if body else test.name


def _renamed(argument: Any, ending: str) -> Any:
    """``source('chat', 'messages')`` is ``source('landing', 'chat__messages')`` in the generated project."""
    return _SOURCE.sub(rf"source('landing', '\1__\2{ending}')", argument) if isinstance(argument, str) else argument
