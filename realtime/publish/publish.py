"""What `duet publish` does: published models, copied from batch into ClickHouse one by one."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from realtime.clickhouse.client import ClickHouse
from realtime.deploy.diff import is_filled, refreshes_of
from realtime.deploy.ledger import Ledger, Work
from realtime.deploy.live import deployed_plan, read_live
from realtime.deploy.lock import Lock
from realtime.deploy.published import publishing
from realtime.deploy.refreshes import make_refreshed
from realtime.deploy.unpublished import published_of, unpublished_of
from realtime.errors import ConfigError, NotFoundError
from realtime.planner.ir import Plan, Step
from realtime.publish.copy import Copied, copy_model
from realtime.settings import Settings

Advance = Callable[[str, int, int], None]
"""Told of a model, how many rows of it are copied and how many there are to copy."""

PATIENCE = 60.0
"""Seconds to wait for another publishing that is running."""


def publish(
    settings: Settings, client: ClickHouse, models: Sequence[str] = (), advance: Advance = lambda *_: None
) -> list[Copied]:
    """Copies ``models`` (all published ones where none is named) of the deployed plan, each at once for its readers.

    NotFoundError where a name is no published model of the plan, NotBuiltError where batch does not have one as it is
    deployed, ConfigError where ClickHouse can't hold a value, BusyError while another process publishes.
    """
    database = deployed_plan(settings, client).database
    with publishing(client, database, PATIENCE) as lock:
        plan = deployed_plan(settings, client)
        return list(_published(settings, client, plan, chosen(plan, models), advance, lock))


def built_models(settings: Settings, plan: Plan) -> list[str]:
    """The published models of ``plan`` that the last dbt run built."""
    try:
        results = json.loads((settings.project_dir / "target" / "run_results.json").read_text())["results"]
    except (OSError, ValueError, KeyError):
        return []
    built = {r["unique_id"] for r in results if r["status"] == "success"}
    return [step.model for step in published_of(plan).values() if step.unique_id in built]


def chosen(plan: Plan, models: Iterable[str]) -> list[Step]:
    """The published steps of these names; NotFoundError where one is none."""
    known = {step.model: step for step in published_of(plan).values()}
    unknown = [name for name in models if name not in known]
    if unknown:
        raise NotFoundError(
            f"no model {', '.join(unknown)} is published",
            remedy=f"published are {', '.join(known) or 'none'}; `mode: published` in meta.realtime makes it one",
        )
    return [known[name] for name in models] or list(known.values())


def _published(
    settings: Settings, client: ClickHouse, plan: Plan, steps: Iterable[Step], advance: Advance, lock: Lock
) -> Iterator[Copied]:
    for step in steps:
        lock.check()
        published = step.published
        if published is not None and published.relation not in read_live(client, plan.database).states:
            raise ConfigError(f"model {step.model} has no table {published.relation}", remedy="run: duet deploy")
        yield copy_model(settings, client, step, functools.partial(advance, step.model))
    _fill_refreshed(client, plan, lock)


def _fill_refreshed(client: ClickHouse, plan: Plan, lock: Lock) -> None:
    """Fills the refreshed tables that were waiting for a model to be published."""
    live = read_live(client, plan.database)
    unpublished = unpublished_of(plan, live)
    due = [r for r in refreshes_of(plan).values() if r.relation not in unpublished and not is_filled(r, live)]
    comment = f"duet publish to {plan.database}"
    make_refreshed(Work(client, Ledger(client, plan.database), lambda _: None, lock.check, comment), due)
