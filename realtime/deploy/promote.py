"""Read views: built and tested by dbt in a schema of their own, then swapped under the readers.

The swap has two rounds, each a row of atomic replacements. First, from the models that nothing reads to those
that others read, each read view becomes a plain view of its tested twin: no view that still has its old form ever
reads one that has its new form. Then, in the order of dependency, each gets its own SQL, which gives the same rows
as the twin. So a query sees the old version whole or the new version whole, and there is a view to read at any
moment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.live import read_live
from realtime.deploy.unpublished import unpublished_of
from realtime.emit import jinja
from realtime.emit.names import quoted
from realtime.emit.shards import create_database
from realtime.errors import CommandError
from realtime.planner.ir import Plan, Step, plan_id
from realtime.project.dbt import run_dbt
from realtime.settings import Settings


def staging_database(plan: Plan) -> str:
    """The schema in which ``plan`` is tested: its own, so that another plan's build never changes views in use."""
    return f"{plan.database}_staging_{plan_id(plan)}"


def build_staging(settings: Settings, client: ClickHouse, plan: Plan) -> None:
    """Builds and tests the generated project in the staging schema with stock dbt-clickhouse; what reads
    models that are not published yet is not tested: it has no rows.

    CommandError naming the tests that fail.
    """
    root = settings.realtime_dir
    results = root / "target" / "run_results.json"
    results.unlink(missing_ok=True)
    if client.cluster:  # dbt would make one of this server alone
        client.execute(create_database(staging_database(plan), client.cluster))
    environment = client.endpoint.environment(staging_database(plan))
    try:
        unpublished = set(unpublished_of(plan, read_live(client, plan.database)).values())
        without = [f"{model}+,resource_type:test" for model in sorted(unpublished)]
        run_dbt(["build", *(["--exclude", *without] if without else [])], root, root, environment=environment)
    except CommandError as error:
        failed = _failed(results)
        if not failed:
            raise
        raise CommandError(
            f"{', '.join(failed)}: failed on the new version, which is not served; the one before still is",
            remedy=f"its views are in {staging_database(plan)}; mend the models or the data, then deploy again",
        ) from error


def stage_views(_: Settings, client: ClickHouse, plan: Plan) -> None:
    """Makes the read views in the staging schema without dbt and without tests; CommandError where one can't be."""
    schema = staging_database(plan)
    client.execute(create_database(schema, client.cluster))
    for step in plan.steps:
        select = rendered(step, plan.database, schema)
        client.execute(f"CREATE OR REPLACE VIEW {_name(schema, step.model)} AS\n{select}")


def _failed(results: Path) -> list[str]:
    """``name (what dbt says)`` of each test and model that failed; empty where dbt did not get that far."""
    try:
        found: list[dict[str, Any]] = json.loads(results.read_text())["results"]
    except (OSError, ValueError, KeyError):
        return []
    failed = [r for r in found if r["status"] in ("fail", "error", "runtime error")]
    return [f"{_kind(r)} {r['unique_id'].split('.')[2]} ({_says(r)})" for r in failed]


def _kind(result: dict[str, Any]) -> str:
    return str(result["unique_id"].split(".")[0])


def _says(result: dict[str, Any]) -> str:
    text = " ".join(str(result.get("message") or result["status"]).split())
    return text[:200]


def swap_to_staging(client: ClickHouse, plan: Plan) -> None:
    """The first round: every read view gives what its tested twin gives."""
    for step in reversed(plan.steps):
        _replace(client, step, f"SELECT * FROM {_name(staging_database(plan), step.model)}")


def settle(client: ClickHouse, plan: Plan) -> None:
    """The second round: every read view has its own SQL, and nothing reads the staging schema any more."""
    for step in plan.steps:
        _replace(client, step, rendered(step, plan.database, plan.database))


def rendered(step: Step, database: str, schema: str) -> str:
    """The read view's SQL with ``ref()`` and ``source()`` resolved as dbt does for a run into ``schema``;
    ``database`` is the plan's."""
    schemas = {"landing": f"{database}_raw", "state": f"{database}_state"}
    return jinja.rendered(
        step.select, lambda model: _name(schema, model), lambda source, table: _name(schemas[source], table)
    )


def _replace(client: ClickHouse, step: Step, select: str) -> None:
    database, name = step.relation.split(".")
    client.execute(f"CREATE OR REPLACE VIEW {_name(database, name)} AS\n{select}")


def _name(database: str, name: str) -> str:
    return f"{quoted(database)}.{quoted(name)}"
