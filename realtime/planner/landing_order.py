"""In which order landing tables keep their rows: as lambdas look them up, unless the author says it.

Equalities come first, the most used before the others, then times and other ranges, then the event time. Where no
lambda compares a column for equality, the order stays the event time's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from sqlglot import exp

from realtime.planner.access import Access
from realtime.planner.flat import NotFlatError, flat
from realtime.planner.ir import Plan, Shape, SourceSpec, Step


def ordered_sources(plan: Plan, used: Mapping[str, Access], fixed: Iterable[str]) -> tuple[SourceSpec, ...]:
    """The sources of ``plan``, those that take appended rows in the order of their lambdas; ``used`` says how rows of
    models and sources are looked up, ``fixed`` are unique ids of sources whose order the author gives."""
    streams = [(step, used[step.model]) for step in plan.steps if step.shape is Shape.STREAM and step.model in used]
    found: dict[str, Access] = {}
    for source in plan.sources:
        _add(found, source.name, used.get(source.name), {c.name: c.name for c in source.columns})
    for step, access in streams:
        landing, columns = _plain_columns(step, plan)
        for source in [s for s in plan.sources if s.landing == landing]:
            _add(found, source.name, access, columns)
    kept = frozenset(fixed)
    return tuple(_ordered(s, found.get(s.name)) if s.unique_id not in kept else s for s in plan.sources)


def _add(found: dict[str, Access], source: str, access: Access | None, columns: Mapping[str, str]) -> None:
    """Counts what ``access`` compares; ``columns`` are names of the source's, by those that it knows."""
    if access is None:
        return
    mine = found.setdefault(source, Access())
    for name, column in columns.items():
        mine.equal[column] += access.equal[name]
        mine.ranged[column] += access.ranged[name]
    mine.lambdas += [name for name in access.lambdas if name not in mine.lambdas]


def _plain_columns(step: Step, plan: Plan) -> tuple[str, dict[str, str]]:
    """The landing table of a stream, and its columns that the stream shows as they are, by their names there."""
    text = step.select
    for source in plan.sources:
        text = text.replace(f"{{{{ source('landing', '{source.whole.split('.')[1]}') }}}}", source.landing)
    try:
        found = flat(text)
    except NotFlatError:
        return "", {}
    return found.landing, {n: c.name for n, c in found.columns.items() if isinstance(c, exp.Column)}


def _ordered(source: SourceSpec, access: Access | None) -> SourceSpec:
    if source.mode != "append" or access is None or not any(access.equal.values()):
        return source
    names = [c.name for c in source.columns]
    equal = sorted((n for n in names if access.equal[n]), key=lambda n: -access.equal[n])
    ranged = sorted((n for n in names if access.ranged[n] and n not in equal), key=lambda n: -access.ranged[n])
    order = [*equal, *ranged, *(n for n in source.order_by if n not in (*equal, *ranged))]
    words = [*(f"{n} =" for n in equal), *(f"{n} as a range" for n in ranged)]
    why = f"for lambdas {', '.join(access.lambdas)}: {', then '.join(words)}"
    return msgspec.structs.replace(source, order_by=tuple(order), order_why=why)
