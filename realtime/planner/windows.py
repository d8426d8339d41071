"""Lambdas over streams that are answered from states: whole pieces of time from there, the edges from landing rows.

A lambda's aggregate is compared with each state over the same landing table, both written over its columns. The
state serves where it keeps the aggregates that are asked for, over the same rows or more, and each condition that it
does not have is one of its keys, or a bound of the time that one of its keys cuts into pieces
(`realtime.planner.window_branch`). Where no state keeps all of them, each is taken from one that does
(`realtime.planner.window_pieces`). What can't be proven so reads rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import msgspec
from sqlglot import exp

from realtime.emit.readable import readable
from realtime.planner.flat import Flat, NotFlatError, flat
from realtime.planner.ir import LambdaSpec, Paging, Plan, Window, streams_digest
from realtime.planner.passes.split_aggregate import UPDATED_AT
from realtime.planner.push_conditions import push_conditions
from realtime.planner.split_lambda import PART, SplitLambda, SplitQuery
from realtime.planner.window_branch import Branch, NoStateError, aggregates_of
from realtime.planner.window_pieces import MERGE, pieced
from realtime.planner.window_states import Candidate, Served, States
from realtime.transpile.form import parse_exactly


def windowed(plan: Plan, splits: Mapping[str, SplitLambda]) -> Plan:
    """``plan`` with the windows of its lambdas, or why there is none; ``splits`` are theirs by name."""
    states = States(plan)
    lambdas = tuple(_lambda(spec, splits[spec.name], states) if spec.name in splits else spec for spec in plan.lambdas)
    return msgspec.structs.replace(plan, lambdas=lambdas)


def _lambda(spec: LambdaSpec, split: SplitLambda, states: States) -> LambdaSpec:
    if split.one is None:
        return spec
    try:
        one = _rewritten(split.one, states)
    except (NoStateError, NotFlatError) as error:
        return msgspec.structs.replace(spec, events=str(error))
    many = after = None
    with contextlib.suppress(NoStateError, NotFlatError):
        many = _rewritten(split.many, states) if split.many is not None and spec.keyed is not None else None
    if spec.paging is not None and split.after is not None:
        reason = _unsteady(spec.paging, split.after, states.plan)
        if reason:
            return msgspec.structs.replace(spec, events=reason)
        with contextlib.suppress(NoStateError, NotFlatError):
            after = _rewritten(split.after, states)
    window = Window(
        select=one.select,
        keyed=many.select if many is not None else "",
        states=tuple(dict.fromkeys(s for each in (one, many, after) if each is not None for s in each.states)),
        why="; ".join(dict.fromkeys(one.why)),
        streams=streams_digest(states.plan, spec),
        after=after.select if after is not None else "",
    )
    return msgspec.structs.replace(spec, window=window)


def _unsteady(paging: Paging, after: SplitQuery, plan: Plan) -> str:
    """Why a row's place might be another in states than in rows, "" where it is not: a page may be made of either."""
    if {"FLOAT", "DOUBLE"} & set(paging.keys):
        return "its pages are ordered by floats, whose sums depend on what is added first"
    texts = [text for part in after.parts for text in part]
    expiring = [s.name for s in plan.sources if s.ttl and any(s.landing in text for text in texts)]
    return f"it answers in pages, and rows of {expiring[0]} expire" if expiring else ""


@dataclasses.dataclass(frozen=True)
class _Rewritten:
    select: str
    states: tuple[str, ...]
    why: tuple[str, ...]


def _rewritten(split: SplitQuery, states: States) -> _Rewritten:
    """``split`` with its parts from states, those that can be; NoStateError, NotFlatError where none can."""
    query = parse_exactly(split.query)
    if readable(query) != split.query:
        raise NotFlatError("SQL that is not read as it was written")
    found = [_served(part, states) for part in split.parts]
    if not any(served.states for served in found):
        raise NoStateError("; ".join(dict.fromkeys(served.why for served in found)))
    for number, served in enumerate(found):
        for table in [t for t in query.find_all(exp.Table) if t.name == f"{PART}{number}"]:
            _merge_otherwise(table, served.merged)
            table.replace(exp.Subquery(this=served.rows.copy(), alias=table.args["alias"].copy()))
    relations = tuple(relation for served in found for relation in served.states)
    why = [served.why if served.states else f"every row where {served.why}" for served in found]
    return _Rewritten(readable(push_conditions(states.of_all_shards(query))), relations, tuple(why))


def _merge_otherwise(part: exp.Table, merged: Mapping[str, str]) -> None:
    """Merges the columns of ``part`` by other functions, those of ``merged`` by name, in place."""
    select = part.find_ancestor(exp.Select)
    assert select is not None
    for found in list(select.find_all(exp.Column)) if merged else ():
        around = found.parent
        own = found.table == part.alias_or_name and found.find_ancestor(exp.Select) is select
        if own and found.name in merged and isinstance(around, exp.Anonymous) and around.name.endswith(MERGE):
            around.set("this", merged[found.name])


def _served(part: Sequence[str], states: States) -> Served:
    """The rows of ``part`` from states where there are such, else from its landing tables, with the reason."""
    try:
        mine = [flat(view) for view in part]
        try:
            return _best(mine, states)
        except NoStateError as error:
            if len(mine) > 1:
                raise
            return pieced(mine[0], states, error)
    except (NoStateError, NotFlatError) as error:
        return Served(_all_rows(part), (), str(error), 0)


def _all_rows(part: Sequence[str]) -> exp.Query:
    rows: exp.Query | None = None
    for text in part:
        view = parse_exactly(text)
        assert isinstance(view, exp.Select)
        view.set("expressions", [p for p in view.expressions if p.alias != UPDATED_AT])
        rows = view if rows is None else exp.Union(this=rows, expression=view, distinct=False)
    assert rows is not None
    return rows


def _best(mine: Sequence[Flat], states: States) -> Served:
    """From the state that has all of it, else the one with the shortest pieces."""
    landings = " and ".join(dict.fromkeys(m.landing for m in mine))
    found: list[Served] = []
    closest = NoStateError(f"no model keeps aggregates of {landings}")
    for candidate in states.over([m.landing for m in mine]):
        try:
            found.append(_from_one(mine, candidate, states))
        except NoStateError as error:
            if error.met >= closest.met:
                closest = NoStateError(f"{candidate.model} {error}", error.met)
    if not found:
        raise closest
    return min(found, key=lambda served: served.width)


def _from_one(mine: Sequence[Flat], candidate: Candidate, states: States) -> Served:
    branches = [
        Branch(own, kept, candidate.state, states.kind(own.landing), aggregates_of(own))
        for own, kept in zip(mine, candidate.views, strict=True)
    ]
    for branch in branches:
        if branch.lacking:
            raise branch.lacking[0]
    whole = branches[0].whole()
    if any(branch.whole() != whole for branch in branches[1:]):
        raise NoStateError("has its branches in another form")
    rows: exp.Query = whole
    width = max(branch.width for branch in branches)
    for branch in branches if width else ():
        rows = exp.Union(this=rows, expression=branch.edges(), distinct=False)
    landings = " and ".join(dict.fromkeys(m.landing for m in mine))
    keys = ", ".join(dict.fromkeys(name for branch in branches for name in branch.cut))
    why = f"whole pieces of {keys} from {candidate.model}, the edges from {landings}" if width else ""
    return Served(rows, (candidate.state.relation,), why or f"all of it from {candidate.model}", width)
