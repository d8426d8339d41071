"""The physical form of states and landing tables, from how lambdas read them: their order, and how fine the index is.

What a lambda compares with `=` comes first, then what it compares as a range, as times; so a call reads one range of
keys. Where calls look single keys up, the index has a mark every 256 rows and parts are compact: a lookup then reads a
few kilobytes (measured in `docs/shapes.md`). The author's own hints are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from realtime.planner.access import Access, accesses
from realtime.planner.ir import LambdaSpec, Plan, State, Step
from realtime.planner.landing_order import ordered_sources

_FINE = 256


def designed(plan: Plan, hints: Mapping[str, Mapping[str, Any]]) -> Plan:
    """``plan`` with its states and landing tables ordered for its lambdas; ``hints`` is ``meta.realtime`` by the unique
    id of the model or source."""
    used = accesses(plan.lambdas, _tables(plan))
    # A refreshed table is named by what it reads: its states stay as they were planned.
    texts = [step.refresh.select for step in plan.steps if step.refresh is not None]
    steps = [
        _step(step, used[step.model], hints.get(step.unique_id, {}), texts) if step.model in used else step
        for step in plan.steps
    ]
    names = {
        before.relation: after.relation
        for old, new in zip(plan.steps, steps, strict=True)
        for before, after in zip(old.states, new.states, strict=True)
        if before.relation != after.relation
    }
    lambdas = tuple(_reading(spec, names) for spec in plan.lambdas)
    sources = ordered_sources(plan, used, (u for u, said in hints.items() if said.get("order_by")))
    return msgspec.structs.replace(plan, sources=sources, steps=tuple(steps), lambdas=lambdas)


def _tables(plan: Plan) -> dict[str, str]:
    """The models of states and the sources of landing tables, by the table."""
    states = {state.whole.split(".")[1]: step.model for step in plan.steps for state in step.states}
    return states | {source.whole.split(".")[1]: source.name for source in plan.sources}


def _reading(spec: LambdaSpec, names: Mapping[str, str]) -> LambdaSpec:
    """``spec`` with the states of its window under the names that they got."""
    if spec.window is None or not names.keys() & set(spec.window.states):
        return spec
    queries = [spec.window.select, spec.window.keyed, spec.window.after]
    for before in names.keys() & set(spec.window.states):
        queries = [text.replace(before, names[before]) for text in queries]
    select, keyed, after = queries
    states = tuple(names.get(relation, relation) for relation in spec.window.states)
    return msgspec.structs.replace(
        spec, window=msgspec.structs.replace(spec.window, select=select, keyed=keyed, states=states, after=after)
    )


def _step(step: Step, access: Access, hints: Mapping[str, Any], texts: list[str]) -> Step:
    states, select = [], step.select
    for state in step.states:
        better = state if any(state.relation in text for text in texts) else _state(state, access, hints)
        select = select.replace(state.relation.split(".")[1], better.relation.split(".")[1])
        states.append(better)
    return msgspec.structs.replace(step, states=tuple(states), select=select)


def _state(state: State, access: Access, hints: Mapping[str, Any]) -> State:
    order = state.order_by if hints.get("order_by") else _order(state, access)
    narrow = bool(order) and access.equal[order[0]] > 0
    fine = narrow and not hints.get("index_granularity")
    if order == state.order_by and not fine:
        return state
    found = msgspec.structs.replace(
        state,
        order_by=order,
        index_granularity=_FINE if fine else state.index_granularity,
        compact=narrow,
        why=f"for lambdas {', '.join(access.lambdas)}" + ("" if hints.get("order_by") else f": {_said(order, access)}"),
    )
    return _renamed(state, found)


def _order(state: State, access: Access) -> tuple[str, ...]:
    """Keys by how they are looked up: equalities, the most used first, then ranges, then the others."""

    def rank(key: str) -> tuple[int, int]:
        if access.equal[key]:
            return 0, -access.equal[key]
        return (1, -access.ranged[key]) if access.ranged[key] else (2, 0)

    return tuple(sorted(state.order_by, key=rank))


def _said(order: tuple[str, ...], access: Access) -> str:
    words = [f"{key} =" if access.equal[key] else f"{key} as a range" for key in order]
    return ", then ".join(w for key, w in zip(order, words, strict=True) if access.equal[key] or access.ranged[key])


def _renamed(before: State, after: State) -> State:
    """``after`` under a name of its own: another order is another table."""
    form = [before.fingerprint, after.order_by, after.index_granularity, after.compact]
    fingerprint = hashlib.sha256(msgspec.json.encode(form)).hexdigest()[:10]
    relation = f"{before.relation.removesuffix(before.fingerprint)}{fingerprint}"
    views = tuple(
        msgspec.structs.replace(view, name=view.name.replace(before.relation, relation)) for view in after.views
    )
    return msgspec.structs.replace(after, relation=relation, fingerprint=fingerprint, views=views)
