"""How old the rows are of models that are not kept on every insert: those that are refreshed, or published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.refreshes import cause
from realtime.planner.ir import Plan, Published, Refresh, Step
from realtime.publish.copy import as_of


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    """A model whose rows have an age: they are those of ``as_of`` (None: it never had any). ``problem`` is why it has
    none that are newer; empty where nothing is wrong."""

    model: str
    shape: str
    as_of: datetime | None = None
    due: datetime | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.as_of is None:
            return f"{self.model}: no rows yet" + (f": {self.problem}" if self.problem else "")
        return f"{self.model}: as of {self.as_of:%Y-%m-%d %H:%M:%S}Z" + (f": {self.problem}" if self.problem else "")


# The table is replaced at every refresh, so its metadata are as old as its rows; after a restart of the server they
# are what is left to tell.
TABLES = """
SELECT name, engine, comment, toUnixTimestamp(metadata_modification_time) AS made FROM system.tables
WHERE database = {database:String}
"""
REFRESHES = """
SELECT view, toUnixTimestamp(last_success_time) AS success, toUnixTimestamp(next_refresh_time) AS due, exception
FROM system.view_refreshes WHERE database = {database:String}
"""


def freshness(client: ClickHouse, plan: Plan) -> tuple[Fresh, ...]:
    """The models of ``plan``, which is deployed, that may be older than what has landed."""
    if not any(step.refresh or step.published for step in plan.steps):
        return ()
    database = {"database": f"{plan.database}_state"}
    return ages(plan, client.rows(TABLES, database), client.rows(REFRESHES, database))


def ages(plan: Plan, tables: Iterable[Mapping[str, Any]], refreshes: Iterable[Mapping[str, Any]]) -> tuple[Fresh, ...]:
    """The models of ``plan`` that are refreshed or published, by the rows of `TABLES` and `REFRESHES`."""
    made = {row["name"]: row for row in tables}
    views = {row["view"]: row for row in refreshes}
    found = []
    for step in plan.steps:
        if step.refresh is not None:
            found.append(_refreshed(step, step.refresh, made, views))
        elif step.published is not None:
            found.append(_published(step, step.published, made))
    return tuple(found)


def _published(step: Step, published: Published, tables: Mapping[str, Mapping[str, Any]]) -> Fresh:
    table = tables.get(_name(published.relation))
    moment = as_of(table["comment"]) if table is not None else None
    missing = "its table is missing: run duet deploy" if table is None else "it is not published yet: run duet batch"
    return Fresh(model=step.model, shape=str(step.shape), as_of=moment, problem=missing if moment is None else "")


def _refreshed(
    step: Step, refresh: Refresh, tables: Mapping[str, Mapping[str, Any]], views: Mapping[str, Mapping[str, Any]]
) -> Fresh:
    table, view = (tables.get(_name(refresh.relation)), views.get(_name(refresh.view)))
    if table is not None and table["engine"] == "View":
        problem = "it reads a model that is not published yet: run duet batch"
        return Fresh(model=step.model, shape=str(step.shape), problem=problem)
    if table is None or view is None:
        problem = f"{refresh.view if table is not None else refresh.relation} is missing: run duet deploy"
        return Fresh(model=step.model, shape=str(step.shape), problem=problem)
    made, due = (datetime.fromtimestamp(t, UTC) for t in (view["success"] or table["made"], view["due"]))
    return Fresh(
        model=step.model,
        shape=str(step.shape),
        as_of=made,
        due=due if due > made else None,  # while it is refreshed, the server has no next time
        problem=f"its last refresh failed: {cause(view['exception'])}" if view["exception"] else "",
    )


def _name(relation: str) -> str:
    return relation.split(".")[1]
