"""How one model is kept: its shape, its states and its read view."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlglot import exp

from realtime.emit.jinja import escaped
from realtime.emit.readable import readable
from realtime.errors import RefusedError
from realtime.planner.ctes import prune, resolve
from realtime.planner.dimensions import name_of, unjoined
from realtime.planner.expiry import in_words
from realtime.planner.failures import UncountableError
from realtime.planner.hints import wrong
from realtime.planner.ir import Column, Shape, State, Step
from realtime.planner.options import nearest, unknown_options
from realtime.planner.passes.carry_failures import carry_failures
from realtime.planner.passes.split_aggregate import Split, is_grouped, split_aggregate
from realtime.planner.passes.split_join import is_joined, split_join
from realtime.planner.passes.split_latest import is_latest, split_latest
from realtime.planner.passes.thread_ingested import INGESTED_AT
from realtime.planner.refresh import refresh_every
from realtime.planner.relations import Relations, is_state, to_dbt
from realtime.planner.states import expiring, make_state, read_from
from realtime.planner.streams import is_component, own_expressions, stateless, stream_tables
from realtime.planner.throws import REMEDY
from realtime.project.binder import Binder
from realtime.project.manifest import Model
from realtime.transpile.settings import with_settings
from realtime.transpile.trace import Trace
from realtime.transpile.transpile import transpile
from realtime.transpile.types import Kind, duck_type

_OPTIONS = frozenset({"mode", "order_by", "partition_by", "ttl", "index_granularity", "indexes", "refresh_every"})


@dataclasses.dataclass(frozen=True)
class Planned:
    """A model's step; ``inline`` says that the models reading it should contain it instead."""

    step: Step
    inline: bool


def plan_model(
    model: Model,
    tree: exp.Query,
    text: str,
    reads: tuple[str, ...],
    binder: Binder,
    relations: Relations,
    database: str,
    trace: Trace | None = None,
) -> Planned:
    """Compiles ``tree``, the model with streams inlined; ``text`` is the same query without, as DuckDB takes it ("":
    none is at hand); ``reads`` names what it reads, as authored; ``trace`` takes what each pass makes of it.

    RefusedError where it can't be kept exactly; `check_options` comes before.
    """
    options = model.options or {}
    compiled = transpile(tree, binder, text, trace)
    query = compiled.tree
    if trace is not None:
        trace.note("lower", readable(query))
    _check_names(query)
    only_read, refreshed = (options.get("mode") == mode for mode in (Shape.READ, Shape.REFRESH))
    inline = not only_read and not refreshed and stream_tables(query, relations.appended) is not None
    states: tuple[State, ...] = ()
    failing: tuple[str, ...] = ()
    if not inline and not only_read:
        # The hints of a model that is refreshed are for the table that is.
        hinted = {} if refreshed else options
        kinds = {c.name: duck_type(c.type).kind for c in compiled.columns}
        query, states, failing = _extract_states(model, query, relations, database, hinted, kinds, trace)
    shape, why = _shape(query, states, inline, failing)
    if refreshed:
        shape, why = Shape.REFRESH, f"refreshed every {refresh_every(options)}" + _below(states)
    _check_mode(model, options, shape, why)
    _check_hints(options, query, shape, why, states)
    keys = _identity(query, states) if shape in (Shape.AGGREGATE, Shape.LATEST) else ()
    step = Step(
        model=model.name,
        unique_id=model.unique_id,
        shape=shape,
        why=why,
        remedy=_remedy(why) if shape is Shape.READ else "",
        relation=f"{database}.{model.name}",
        batch=model.relation.sql("duckdb"),
        select=escaped(readable(with_settings(to_dbt(query, relations)), copy=False)),
        columns=tuple(_described(c, model.descriptions) for c in compiled.columns),
        depends_on=reads,
        keys=keys,
        states=states,
        description=model.description,
    )
    return Planned(step, inline)


def _check_names(query: exp.Query) -> None:
    if any(alias.alias == INGESTED_AT for alias in query.find_all(exp.Alias)):
        raise RefusedError(
            f"{INGESTED_AT} is the hidden column of landing tables", construct=INGESTED_AT, remedy="choose another name"
        )


def _described(column: Column, descriptions: Mapping[str, str]) -> Column:
    return msgspec.structs.replace(column, description=descriptions.get(column.name, ""))


def _extract_states(
    model: Model,
    query: exp.Query,
    relations: Relations,
    database: str,
    options: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    trace: Trace | None,
) -> tuple[exp.Query, tuple[State, ...], tuple[str, ...]]:
    """Moves what can be kept on insert out of ``query``: what is left of it reads the states.

    Also says what could be kept, were it not that it may fail on a row.
    """
    states: list[State] = []
    failing: list[str] = []
    # What is inside comes first, for the read select of a join carries its dimensions along.
    for select in reversed(list(query.find_all(exp.Select))):
        try:
            split = _split(select, relations)
            _note(trace, "split", split)
            split = carry_failures(split, model.name) if split is not None else None
            _note(trace, "carry_failures", split)
        except UncountableError as error:
            failing.append(f"{error} must not happen on insert ({REMEDY})")
            continue
        if split is None:
            continue
        missing = unjoined(select, relations) if is_joined(select) else None
        if missing is not None:
            failing.append(missing)
            continue
        name = model.name if not states else f"{model.name}__{len(states) + 1}"
        split, expiry = expiring(split, options, kinds)
        state = make_state(name, split, relations, database, options, kinds, expiry)
        states.append(state)
        read = read_from(split, state)
        if select is query:
            query = read
        else:
            select.replace(read)
    return prune(query), tuple(states), tuple(dict.fromkeys(failing))


def _note(trace: Trace | None, name: str, split: Split | None) -> None:
    """The selects of ``split``: those on insert and the one that reads."""
    if trace is not None and split is not None:
        parts = [f"-- on insert\n{readable(view)}" for view in split.views]
        trace.note(name, "\n".join([*parts, f"-- when read\n{readable(split.read)}"]))


def _split(select: exp.Select, relations: Relations) -> Split | None:
    """``select`` split between insert and read; None where it has no such split."""
    if is_joined(select) and is_grouped(select) and over_stream(select, relations, joined=True):
        return split_join(select)
    split = split_aggregate if is_grouped(select) else split_latest if is_latest(select) else None
    return split(select) if split is not None and over_stream(select, relations) else None


def over_stream(select: exp.Select, relations: Relations, *, joined: bool = False) -> bool:
    """Whether ``select`` reads one stream of appended rows and nothing else, but for what is ``joined`` to it."""
    origin = select.args.get("from_")
    others = any(j.args.get("kind") != "ARRAY" for j in select.args.get("joins") or [])
    if origin is None or (others and not joined):
        return False
    if any(True for _ in own_expressions(select, exp.Query)) or _is_correlated(select):
        return False
    return stream_tables(origin.this, relations.appended) is not None


def _is_correlated(select: exp.Select) -> bool:
    """Whether ``select`` names columns of a query around it."""
    own = {s.alias_or_name for s in select.find_all(exp.Table, exp.Subquery)}
    return any(c.table and c.table not in own for c in select.find_all(exp.Column))


def _shape(query: exp.Query, states: tuple[State, ...], inline: bool, failing: tuple[str, ...]) -> tuple[Shape, str]:
    """The shape, and the reason in words; ``failing`` is what keeps aggregates from being kept on insert."""
    if inline:
        return Shape.STREAM, "each row by itself"
    if len(states) == 1 and not failing and _path_to_state(query) is not None:
        return (Shape.LATEST if states[0].latest else Shape.AGGREGATE), _kept(states[0]) + _joined(query)
    reasons = ", ".join(failing or _reasons(query))
    if not states:
        return Shape.READ, f"computed when read: {reasons}"
    return Shape.READ, f"{'; '.join(map(_kept, states))}; when read: {reasons}"


def _below(states: tuple[State, ...]) -> str:
    """The states that a model which is refreshed reads."""
    return f", from what is kept on insert: {'; '.join(map(_kept, states))}" if states else ""


def _kept(state: State) -> str:
    keys = ", ".join(state.order_by)
    if state.latest:
        return f"newest row per {keys}, kept on insert"
    return f"grouped by {keys}, kept on insert" if keys else "one row, kept on insert"


def _joined(query: exp.Query) -> str:
    """What the state is joined to when it is read."""
    path = _path_to_state(query) or []
    names = [name_of(j.this) for j in (path[-1].args.get("joins") or [] if path else [])]
    return f", joined to {', '.join(names)} when read" if names else ""


def _path_to_state(query: exp.Query) -> list[exp.Select] | None:
    """The selects from ``query`` down to the one that reads a state, each mapping and filtering single rows of
    the next; None where there is more to ``query``."""
    path: list[exp.Select] = []
    at: exp.Expr = query
    while isinstance(at, exp.Select):
        path.append(at)
        source = at.args["from_"].this if at.args.get("from_") else None
        if isinstance(source, exp.Table) and is_state(source):
            whole = ("distinct", "limit", "offset", "qualify")
            inner = own_expressions(at, exp.Window, exp.Query)
            return None if any(at.args.get(p) for p in whole) or any(True for _ in inner) else path
        cte = resolve(source) if isinstance(source, exp.Table) else None
        if not stateless(at) or (cte is None and not isinstance(source, exp.Subquery)):
            return None
        at = cte.this if cte is not None else source.this  # type: ignore[union-attr]
    return None


def _identity(query: exp.Query, states: tuple[State, ...]) -> tuple[str, ...]:
    """The model's columns that hold the keys of its one state; empty where not all are shown."""
    path = _path_to_state(query)
    assert path is not None
    shown = _shown_keys(path, states[0]) if not path[-1].args.get("joins") else {}
    return tuple(shown.values()) if len(shown) == len(states[0].order_by) else ()


def _shown_keys(path: list[exp.Select], state: State) -> dict[str, str]:
    """The keys of ``state`` that the model shows, each with the column that it is there; ``path`` leads to it."""
    names = {key: key for key in state.order_by}
    for select in reversed(path):
        shown = {p.unalias().name: p.alias_or_name for p in select.expressions if isinstance(p.unalias(), exp.Column)}
        names = {key: shown[name] for key, name in names.items() if name in shown}
    return names


_REMEDIES = {
    "window functions": "keep the newest row per key with row_number() … = 1, or leave the window to a model or lambda "
    "over an aggregate",
    "joins": "join a stream to dimensions by keys tested `unique`, the stream first, and aggregate its columns only",
    "DISTINCT": "take DISTINCT of a source or of models that handle each row by itself",
    "set operations": "aggregate over the UNION ALL of streams, in one GROUP BY around it",
    "LIMIT": "leave ORDER BY and LIMIT to the lambda",
    "subqueries in expressions": "write the subquery as a join",
    "aggregates of what is computed when read": "aggregate an appended source or models that handle each row by itself",
    "a view over what it reads": "aggregate appended sources, or models that handle each row of them by itself",
    "not known to be unique": "add the test to the joined model or source",
    "must not happen on insert": REMEDY,
}


def _remedy(why: str) -> str:
    """What would keep on insert what ``why`` says is computed when read."""
    return "; ".join(remedy for reason, remedy in _REMEDIES.items() if reason in why)


def _reasons(query: exp.Query) -> list[str]:
    """What in ``query`` no materialized view can keep exactly."""
    found = {
        "window functions": query.find(exp.Window) is not None,
        "joins": any(j.args.get("kind") != "ARRAY" for j in query.find_all(exp.Join)),
        "DISTINCT": any(s.args.get("distinct") for s in query.find_all(exp.Select)),
        "set operations": query.find(exp.SetOperation) is not None,
        "LIMIT": query.find(exp.Limit) is not None,
        "subqueries in expressions": any(
            True for s in query.find_all(exp.Select) for _ in own_expressions(s, exp.Query)
        ),
        "aggregates of what is computed when read": any(
            is_component(n) for s in query.find_all(exp.Select) for n in own_expressions(s, exp.Anonymous)
        ),
    }
    return [reason for reason, holds in found.items() if holds] or ["a view over what it reads"]


def check_options(model: Model) -> None:
    """RefusedError where ``meta.realtime`` of ``model`` says what no model can be told."""
    options = model.options or {}
    unknown = unknown_options(options, _OPTIONS)
    if unknown is not None:
        raise RefusedError(f"meta.realtime has {unknown[0]}", construct="meta.realtime", remedy=unknown[1])
    refresh_every(options)
    mode = options.get("mode")
    if mode is not None and mode not in list(Shape):
        raise RefusedError(
            f"meta.realtime.mode is {mode!r}",
            construct="meta.realtime.mode",
            remedy=f"{nearest([str(mode)], list(Shape))}it is one of {', '.join(Shape)}",
        )


_PHYSICAL = ("order_by", "partition_by", "ttl", "index_granularity", "indexes")


def _check_hints(
    options: Mapping[str, Any], query: exp.Query, shape: Shape, why: str, states: tuple[State, ...]
) -> None:
    """RefusedError where a physical hint is for no table, or one that needs the model's types for more than a state."""
    given = [option for option in _PHYSICAL if option in options]
    if given and not states and shape is not Shape.REFRESH:
        above = "its rows are in the landing table of its source: say it there" if shape is Shape.STREAM else why
        raise wrong(given[0], f"is set, but no table is made for the model: {above}", f"drop `{given[0]}`")
    typed = "ttl" if in_words(str(options.get("ttl", ""))) is not None else "indexes"
    if not states or typed not in options:
        return
    path = _path_to_state(query) if shape in (Shape.AGGREGATE, Shape.LATEST) else None
    shown = _shown_keys(path, states[0]) if path is not None else {}
    if not all(key == name for key, name in shown.items()) or path is None:
        other = "write it as an expression of ClickHouse's over the state's keys, or " if typed == "ttl" else ""
        raise wrong(
            typed,
            f"is {options[typed]}, but the model is not the rows of one state under their own names: {why}",
            f"{other}give it to a model that is one state",
        )


def _check_mode(model: Model, options: Mapping[str, Any], shape: Shape, why: str) -> None:
    wanted = options.get("mode")
    if wanted is None or wanted == shape:
        return
    raise RefusedError(
        f"meta.realtime.mode asks for {wanted}, but the model is {shape}: {why}",
        construct="meta.realtime.mode",
        remedy=f"drop `mode`, or rewrite the model so that it is {wanted}",
    )
