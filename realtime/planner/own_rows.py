"""What decides a model's rows, whatever its tables are called, how they are ordered and with whom it shares them."""

from __future__ import annotations

import hashlib

import msgspec

from realtime.planner.ir import Step


def own_rows(step: Step) -> str:
    """A digest of what ``step`` keeps and of how it is read; of one that shares its state, as it was with its own."""
    if step.own_rows:
        return step.own_rows
    select = step.select
    for number, state in enumerate(step.states):
        select = select.replace(state.relation.split(".")[1], f"state {number}")
    states = [(s.engine, s.ttl, s.latest, [(v.landing, v.select) for v in s.views]) for s in step.states]
    return hashlib.sha256(msgspec.json.encode([select, states])).hexdigest()[:16]
