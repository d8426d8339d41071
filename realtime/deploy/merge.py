"""One plan with parts of another: what a rollback and a deploy of a selection make active."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from realtime.planner.ir import CarriedTest, DataTest, LambdaSpec, Plan, Read, SourceSpec, Step
from realtime.planner.own_rows import own_rows

_Test = TypeVar("_Test", DataTest, CarriedTest)


def merged(
    base: Plan, other: Plan, models: frozenset[str], sources: Iterable[SourceSpec], lambdas: Iterable[LambdaSpec]
) -> Plan:
    """``base`` with the models ``models`` as they are in ``other`` (gone, where they are not there) and the tests on
    them, with ``sources`` and ``lambdas`` in place of its own."""
    steps = {s.model: s for s in base.steps if s.model not in models}
    steps |= {s.model: s for s in other.steps if s.model in models}
    ordered, specs = in_order(steps), tuple(sources)
    kept = {s.unique_id for s in ordered} | {s.unique_id for s in specs}
    taken = {s.unique_id for plan in (base, other) for s in plan.steps if s.model in models}
    taken |= {s.unique_id for s in specs if s not in base.sources}
    return msgspec.structs.replace(
        base,
        sources=specs,
        steps=ordered,
        lambdas=tuple(sorted((_read(spec, steps) for spec in lambdas), key=lambda spec: spec.name)),
        tests=_tests(base.tests, other.tests, taken, kept),
        carried=_tests(base.carried, other.carried, taken, kept),
    )


def _read(spec: LambdaSpec, steps: Mapping[str, Step]) -> LambdaSpec:
    """``spec``, without its ways to states that not all of its models have here, or that are read otherwise: it reads
    their views then."""
    together, direct = spec.together, spec.direct
    if direct is not None and not all(_is_there(read, steps) for read in direct.reads):
        spec = msgspec.structs.replace(spec, direct=None)
    reads = [Read(m.model, together.state, m.rows) for m in together.members] if together is not None else []
    if all(_is_there(read, steps) for read in reads):
        return spec
    return msgspec.structs.replace(spec, together=None, apart="its models are deployed with states of their own")


def _is_there(read: Read, steps: Mapping[str, Step]) -> bool:
    """Whether ``read`` is what one of ``steps`` keeps and shows."""
    step = steps.get(read.model)
    there = step is not None and (not read.state or any(s.relation == read.state for s in step.states))
    return step is not None and there and own_rows(step) == read.rows


def same_plan(one: Plan, other: Plan) -> bool:
    """Whether both hold the same, in whatever order."""
    parts = ([plan.sources, plan.steps, plan.lambdas, plan.tests, plan.carried] for plan in (one, other))
    mine, theirs = ([sorted(msgspec.json.encode(item) for item in part) for part in of] for of in parts)
    return mine == theirs


def in_order(steps: Mapping[str, Step]) -> tuple[Step, ...]:
    """``steps``, by model, each after those it reads."""
    found: dict[str, Step] = {}

    def add(step: Step) -> None:
        for name in step.depends_on:
            if name in steps and name not in found:
                add(steps[name])
        found.setdefault(step.model, step)

    for step in steps.values():
        add(step)
    return tuple(found.values())


def _tests(base: tuple[_Test, ...], other: tuple[_Test, ...], taken: set[str], kept: set[str]) -> tuple[_Test, ...]:
    """Tests of ``other`` on what is taken from there, of ``base`` on the rest; none that reads what is not kept."""
    chosen = [t for t in base if not taken & set(t.depends_on)] + [t for t in other if taken & set(t.depends_on)]
    return tuple(t for t in chosen if set(t.depends_on) <= kept)
