"""The author's own data tests, compiled like models, so that dbt runs them on ClickHouse too."""

from __future__ import annotations

from collections.abc import Collection

from realtime.dialects.translate import to_duckdb
from realtime.emit.jinja import escaped
from realtime.emit.readable import readable
from realtime.emit.tests import custom_tests, judged_by
from realtime.errors import RefusedError
from realtime.planner.ir import DataTest
from realtime.planner.relations import Relations, to_dbt
from realtime.project.binder import Binder
from realtime.project.manifest import Project, Test
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import transpile


def plan_tests(project: Project, kept: Collection[str], binder: Binder, relations: Relations) -> tuple[DataTest, ...]:
    """Custom tests over models that are kept (``kept`` are their unique ids); ``binder`` knows these models.

    A test that has no exact form is no reason to refuse a model: it stays behind with its reason.
    """
    return tuple(_plan(test, project.adapter, binder, relations) for test in custom_tests(project, kept))


def _plan(test: Test, adapter: str, binder: Binder, relations: Relations) -> DataTest:
    try:
        tree = transpile(to_duckdb(test.sql, adapter, binder), binder).tree
    except RefusedError as error:
        return DataTest(name=test.name, select="", description=test.description, reason=str(error))
    select = escaped(readable(with_settings(to_dbt(tree, relations))))
    return DataTest(name=test.name, select=select, config=judged_by(test), description=test.description)
