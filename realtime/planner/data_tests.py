"""The author's own data tests, compiled like models, so that dbt runs them on ClickHouse too."""

from __future__ import annotations

from realtime.dialects.translate import to_duckdb
from realtime.emit.jinja import escaped
from realtime.emit.readable import readable
from realtime.emit.tests import judged_by
from realtime.errors import RefusedError
from realtime.planner.ir import DataTest
from realtime.planner.relations import Relations, to_dbt
from realtime.project.binder import Binder
from realtime.project.lines import UNFORESEEN, refusals_of
from realtime.project.manifest import Project, Test
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import transpile


def plan_test(test: Test, project: Project, binder: Binder, relations: Relations) -> DataTest:
    """A custom test over models that are kept; ``binder`` knows these models.

    A test that has no exact form is no reason to refuse a model: it stays behind with its reason.
    """
    try:
        tree = transpile(to_duckdb(test.sql, project.adapter, binder), binder).tree
    except (RefusedError, *UNFORESEEN) as error:
        reason = "\n".join(str(refusal) for refusal in refusals_of(error, test, project.name))
        return DataTest(
            name=test.name, select="", description=test.description, reason=reason, depends_on=test.depends_on
        )
    select = escaped(readable(with_settings(to_dbt(tree, relations))))
    return DataTest(
        name=test.name, select=select, config=judged_by(test), description=test.description, depends_on=test.depends_on
    )
