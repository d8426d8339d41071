"""Published tables on the way from one deploy to the next: copied where batch has their rows, else put off (see
`realtime.deploy.unpublished`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.ledger import Work
from realtime.deploy.live import Live
from realtime.deploy.lock import Lock, exclusive
from realtime.deploy.unpublished import published_of, unpublished_of, with_refreshed
from realtime.emit.ddl import placeholder
from realtime.errors import NotBuiltError
from realtime.planner.ir import Plan, Step
from realtime.publish.copy import copy_model
from realtime.settings import Settings

PATIENCE = 600.0
"""Seconds that a deploy waits for a publishing that is running."""


@contextlib.contextmanager
def publishing(client: ClickHouse, database: str, patience: float) -> Iterator[Lock]:
    """Holds the lock of those that copy models; BusyError where another does, still after ``patience`` seconds."""
    with exclusive(client, database, patience, work="publish") as lock:
        yield lock


def make_published(settings: Settings, work: Work, plan: Plan, live: Live) -> dict[str, str]:
    """Copies the published models that are new, or have other columns; those that nothing serves yet may be missing in
    batch. All tables that are an error until they are published, as `unpublished_of`.

    NotBuiltError where batch does not have a model as it is now, and the version before is served.
    """
    unpublished = unpublished_of(plan, live)
    fresh = {r: step for r, step in published_of(plan).items() if r not in live.states}
    if fresh:
        with publishing(work.client, plan.database, PATIENCE):
            for relation, step in fresh.items():
                work.check()
                if not _copied(settings, work, step, live):
                    unpublished[relation] = step.model
                    make_placeholder(work.client, relation, step, step.model)
    return with_refreshed(plan, unpublished)


def make_placeholder(client: ClickHouse, relation: str, step: Step, model: str) -> None:
    """The view in the place of a table of ``step``, which waits for ``model`` to be published."""
    client.execute(f"CREATE OR REPLACE VIEW {relation} AS\n{placeholder(step.columns, model)}")


def _copied(settings: Settings, work: Work, step: Step, live: Live) -> bool:
    """Copies ``step``; False where batch does not have it, and nothing serves it either."""
    try:
        work.report(str(copy_model(settings, work.client, step, lambda *_: None)))
    except NotBuiltError as error:
        if _is_served(step, live):
            raise NotBuiltError(
                f"{error.message}; the version before goes on being served",
                remedy="build it first, then deploy: duet batch, duet deploy",
            ) from None
        work.report(f"{error.message}: reading it is an error until it is published (duet batch)")
        return False
    return True


def _is_served(step: Step, live: Live) -> bool:
    """Whether an answer of the model is served now."""
    before = next((s for s in live.plan.steps if s.model == step.model), None) if live.plan is not None else None
    if before is None or before.relation not in live.read_views or live.plan is None:
        return False
    return before.published is None or before.published.relation not in unpublished_of(live.plan, live)
