"""Tables that are an error until a model is published.

A published model whose rows batch does not have yet is, in the place of its table, a view that gives an error and no
rows: so nobody takes an empty table for the answer. So is the table of a model that is refreshed from such a one. The
first publishing puts the tables there.
"""

from __future__ import annotations

from collections.abc import Mapping

from realtime.deploy.live import Live
from realtime.emit.names import quoted
from realtime.planner.ir import Plan, Step


def published_of(plan: Plan) -> dict[str, Step]:
    """The published models by the relation of their tables."""
    return {step.published.relation: step for step in plan.steps if step.published is not None}


def unpublished_of(plan: Plan, live: Live) -> dict[str, str]:
    """The tables that are an error until a model is published, each with the name of that model: those of published
    models, and those that are refreshed from them."""
    found = {
        relation: step.model
        for relation, step in published_of(plan).items()
        if relation in live.states and live.states[relation].is_view
    }
    return with_refreshed(plan, found)


def with_refreshed(plan: Plan, unpublished: Mapping[str, str]) -> dict[str, str]:
    """``unpublished`` and the tables that are refreshed from one of them."""
    found = dict(unpublished)
    for refresh in [step.refresh for step in plan.steps if step.refresh is not None]:
        below = [model for relation, model in found.items() if quoted(relation.split(".")[1]) in refresh.select]
        if below:
            found[refresh.relation] = below[0]
    return found
