"""How one model is kept: its shape, its states and its read view."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlglot import exp

from realtime.emit.readable import readable
from realtime.errors import RefusedError
from realtime.planner.ctes import prune, resolve
from realtime.planner.ir import Column, Shape, State, Step
from realtime.planner.passes.split_aggregate import is_grouped, split_aggregate
from realtime.planner.passes.split_latest import is_latest, split_latest
from realtime.planner.relations import Relations, to_dbt
from realtime.planner.states import make_state, read_from
from realtime.planner.streams import own_expressions, stateless, stream_tables
from realtime.project.binder import Binder
from realtime.project.manifest import Model
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import transpile

_OPTIONS = frozenset({"mode", "order_by", "partition_by", "ttl", "index_granularity"})


@dataclasses.dataclass(frozen=True)
class Planned:
    """A model's step; ``inline`` says that the models reading it should contain it instead."""

    step: Step
    inline: bool


def plan_model(model: Model, tree: exp.Query, binder: Binder, relations: Relations, database: str) -> Planned:
    """Compiles ``tree``, the model with streams inlined. RefusedError where it can't be kept exactly."""
    options = _options(model)
    compiled = transpile(tree, binder)
    query = compiled.tree
    inline = stream_tables(query, relations.appended) is not None
    states: tuple[State, ...] = ()
    if not inline:
        query, states = _extract_states(model, query, relations, database, options)
    shape, why = _shape(query, states, inline)
    _check_mode(model, options, shape, why)
    step = Step(
        model=model.name,
        unique_id=model.unique_id,
        shape=shape,
        why=why,
        relation=f"{database}.{model.name}",
        batch=model.relation.sql("duckdb"),
        select=readable(with_settings(to_dbt(query, relations))),
        columns=tuple(_described(c, model.descriptions) for c in compiled.columns),
        depends_on=tuple(sorted(model.depends_on)),
        keys=states[0].order_by if len(states) == 1 else (),
        states=states,
        description=model.description,
    )
    return Planned(step, inline)


def _described(column: Column, descriptions: Mapping[str, str]) -> Column:
    return msgspec.structs.replace(column, description=descriptions.get(column.name, ""))


def _extract_states(
    model: Model, query: exp.Query, relations: Relations, database: str, options: Mapping[str, Any]
) -> tuple[exp.Query, tuple[State, ...]]:
    """Moves what can be kept on insert out of ``query``: what is left of it reads the states."""
    states: list[State] = []
    for select in list(query.find_all(exp.Select)):
        if not _over_stream(select, relations):
            continue
        if is_grouped(select):
            split = split_aggregate(select)
        elif is_latest(select):
            split = split_latest(select)
        else:
            continue
        name = model.name if not states else f"{model.name}__{len(states) + 1}"
        state = make_state(name, split, relations, database, options)
        states.append(state)
        read = read_from(split, state)
        if select is query:
            query = read
        else:
            select.replace(read)
    return prune(query), tuple(states)


def _over_stream(select: exp.Select, relations: Relations) -> bool:
    """Whether ``select`` reads one stream of appended rows and nothing else."""
    origin = select.args.get("from_")
    if origin is None or any(j.args.get("kind") != "ARRAY" for j in select.args.get("joins") or []):
        return False
    if any(isinstance(n, exp.Query) for n in own_expressions(select)):
        return False
    return stream_tables(origin.this, relations.appended) is not None


def _shape(query: exp.Query, states: tuple[State, ...], inline: bool) -> tuple[Shape, str]:
    """The shape, and the reason in words."""
    if inline:
        return Shape.STREAM, "each row by itself"
    if not states:
        return Shape.READ, f"computed when read: {', '.join(_reasons(query))}"
    keys = ", ".join(states[0].order_by) or "one row"
    if len(states) == 1 and _maps_state(query):
        if states[0].latest:
            return Shape.LATEST, f"newest row per {keys}, kept on insert"
        return Shape.AGGREGATE, f"grouped by {keys}, kept on insert"
    kept = "; ".join(f"grouped by {', '.join(s.order_by) or 'one row'}" for s in states)
    return Shape.READ, f"{kept}, kept on insert; when read: {', '.join(_reasons(query))}"


def _maps_state(query: exp.Query) -> bool:
    """Whether what is left over the one state is a select of it, mapped and filtered row by row."""
    at: exp.Expr = query
    while isinstance(at, exp.Select):
        source = at.args["from_"].this
        if isinstance(source, exp.Table) and resolve(source) is None:
            return not any(isinstance(n, exp.Window) for n in own_expressions(at))
        if not stateless(at):
            return False
        at = source.this if isinstance(source, exp.Subquery) else resolve(source).this  # type: ignore[union-attr]
    return False


def _reasons(query: exp.Query) -> list[str]:
    """What in ``query`` no materialized view can keep exactly."""
    found = {
        "window functions": query.find(exp.Window) is not None,
        "joins": any(j.args.get("kind") != "ARRAY" for j in query.find_all(exp.Join)),
        "DISTINCT": any(s.args.get("distinct") for s in query.find_all(exp.Select)),
        "set operations": query.find(exp.SetOperation) is not None,
        "LIMIT": query.find(exp.Limit) is not None,
        "subqueries in expressions": any(
            isinstance(n, exp.Query) for s in query.find_all(exp.Select) for n in own_expressions(s)
        ),
        "aggregates of what is computed when read": any(
            n.meta.get("component") for s in query.find_all(exp.Select) for n in own_expressions(s)
        ),
    }
    return [reason for reason, holds in found.items() if holds] or ["a view over what it reads"]


def _options(model: Model) -> Mapping[str, Any]:
    options = model.options or {}
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise RefusedError(
            f"meta.realtime has unknown option {', '.join(unknown)}", remedy=f"it takes {', '.join(sorted(_OPTIONS))}"
        )
    return options


def _check_mode(model: Model, options: Mapping[str, Any], shape: Shape, why: str) -> None:
    wanted = options.get("mode")
    if wanted is None or wanted == shape:
        return
    if wanted not in list(Shape):
        raise RefusedError(f"meta.realtime.mode is {wanted!r}", remedy=f"it is one of {', '.join(Shape)}")
    raise RefusedError(
        f"meta.realtime.mode asks for {wanted}, but the model is {shape}: {why}",
        remedy=f"drop `mode`, or rewrite the model so that it is {wanted}",
    )
