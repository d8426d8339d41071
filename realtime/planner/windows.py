"""Lambdas over streams that are answered from states: whole pieces of time from there, the edges from landing rows.

A lambda's aggregate is compared with each state over the same landing table, both written over its columns. The
state serves where it keeps every aggregate that is asked for, over the same rows or more, and each condition that it
does not have is one of its keys, or a bound of the time that one of its keys cuts into pieces
(`realtime.planner.buckets`). What can't be proven so stays as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from sqlglot import exp

from realtime.emit.readable import readable
from realtime.planner.buckets import Bucket, bucket, time_of, untyped
from realtime.planner.flat import ROW, Flat, NotFlatError, alternatives, bare, flat
from realtime.planner.ir import LambdaSpec, Plan, State, Window, streams_digest
from realtime.planner.passes.carry_failures import FAILED
from realtime.planner.passes.split_aggregate import PLACEHOLDER, UPDATED_AT
from realtime.planner.split_lambda import PART, SplitLambda, SplitQuery
from realtime.transpile.form import column, parse_exactly, quote

_RANGES = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_TURNED: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE}


class NoStateError(Exception):
    """Why a lambda is not answered from states; ``met`` counts what of it a state does have."""

    def __init__(self, reason: str, met: int = 0) -> None:
        super().__init__(reason)
        self.met = met


def windowed(plan: Plan, splits: Mapping[str, SplitLambda]) -> Plan:
    """``plan`` with the windows of its lambdas, or why there is none; ``splits`` are theirs by name."""
    states = _States(plan)
    lambdas = tuple(_lambda(spec, splits[spec.name], states) if spec.name in splits else spec for spec in plan.lambdas)
    return msgspec.structs.replace(plan, lambdas=lambdas)


def _lambda(spec: LambdaSpec, split: SplitLambda, states: _States) -> LambdaSpec:
    if split.one is None:
        return spec
    try:
        one = _rewritten(split.one, states)
    except (NoStateError, NotFlatError) as error:
        return msgspec.structs.replace(spec, events=str(error))
    many = None
    with contextlib.suppress(NoStateError, NotFlatError):
        many = _rewritten(split.many, states) if split.many is not None and spec.keyed is not None else None
    window = Window(
        select=one.select,
        keyed=many.select if many is not None else "",
        states=tuple(dict.fromkeys([*one.states, *(many.states if many is not None else ())])),
        why="; ".join(dict.fromkeys(one.why)),
        streams=streams_digest(states.plan, spec),
    )
    return msgspec.structs.replace(spec, window=window)


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A state with its views over the columns of their landing tables; ``model`` is whose it is."""

    model: str
    state: State
    views: tuple[Flat, ...]


class _States:
    """What the states of ``plan`` keep, each looked at once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._types = {s.landing: {c.name: c.clickhouse for c in s.columns} for s in plan.sources}
        self._flat: dict[str, Flat | None] = {}

    def over(self, landings: Sequence[str]) -> Iterator[_Candidate]:
        """Those with a view over each of ``landings``, the fewest keys first. A state with a TTL of its own may lack
        rows that are in the landing table."""
        found = []
        for step in self.plan.steps:
            for state in step.states:
                if [v.landing for v in state.views] == list(landings) and not state.latest and not state.ttl:
                    views = [view for v in state.views if (view := self._view(v.select)) is not None]
                    if len(views) == len(landings):
                        found.append(_Candidate(step.model, state, tuple(views)))
        yield from sorted(found, key=lambda c: len(c.state.order_by))

    def kind(self, landing: str) -> Callable[[exp.Expr], str]:
        """Gives the ClickHouse type of a column of ``landing``."""
        types = self._types.get(landing, {})
        return lambda node: types.get(node.name, "")

    def _view(self, text: str) -> Flat | None:
        if text not in self._flat:
            try:
                self._flat[text] = flat(text)
            except NotFlatError:
                self._flat[text] = None
        return self._flat[text]


@dataclasses.dataclass(frozen=True)
class _Rewritten:
    select: str
    states: tuple[str, ...]
    why: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Served:
    """What stands for a part of a query. ``width`` is that of the pieces; 0 where the state has all of it."""

    rows: exp.Query
    state: str
    why: str
    width: int


def _rewritten(split: SplitQuery, states: _States) -> _Rewritten:
    """``split`` with all of its parts from states; NoStateError, NotFlatError where there is none for one."""
    query = parse_exactly(split.query)
    if readable(query) != split.query:
        raise NotFlatError("SQL that is not read as it was written")
    served = [_best([flat(view) for view in part], states) for part in split.parts]
    for number, found in enumerate(served):
        for table in [t for t in query.find_all(exp.Table) if t.name == f"{PART}{number}"]:
            table.replace(exp.Subquery(this=found.rows, alias=table.args["alias"].copy()))
    return _Rewritten(readable(query), tuple(s.state for s in served), tuple(s.why for s in served))


def _best(mine: Sequence[Flat], states: _States) -> _Served:
    """From the state that has all of it, else the one with the shortest pieces."""
    landings = " and ".join(dict.fromkeys(m.landing for m in mine))
    found: list[_Served] = []
    closest = NoStateError(f"no model keeps aggregates of {landings}")
    for candidate in states.over([m.landing for m in mine]):
        try:
            found.append(_served(mine, candidate, states))
        except NoStateError as error:
            if error.met >= closest.met:
                closest = NoStateError(f"{candidate.model} {error}", error.met)
    if not found:
        raise closest
    return min(found, key=lambda served: served.width)


def _served(mine: Sequence[Flat], candidate: _Candidate, states: _States) -> _Served:
    branches = [
        _Branch(own, kept, candidate.state, states.kind(own.landing))
        for own, kept in zip(mine, candidate.views, strict=True)
    ]
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
    return _Served(rows, candidate.state.relation, why or f"all of it from {candidate.model}", width)


class _Branch:
    """A lambda's aggregate ``mine`` from ``state``, as far as the view ``kept`` fills it. NoStateError where it has not
    what is asked for."""

    def __init__(self, mine: Flat, kept: Flat, state: State, kind: Callable[[exp.Expr], str]) -> None:
        self._mine, self._kind = mine, kind
        self._database, self._table = state.relation.split(".")
        self._names = {untyped(kept.columns[name]): name for name in state.order_by}
        if any(untyped(key) not in self._names for key in kept.groups):
            raise NoStateError("has a key that is not shown")
        cuts = {name: bucket(kept.columns[name], kind) for name in state.order_by}
        self._cuts = sorted(((n, b) for n, b in cuts.items() if b is not None), key=lambda cut: cut[1].width)
        self.width = 0
        self.cut: list[str] = []
        self._whole: list[exp.Expr] = []
        self._inside: list[exp.Expr] = []
        self._take(kept)
        self._columns = dict(self._matched(kept, state))

    def whole(self) -> exp.Select:
        """The rows of the state that are asked for as a whole."""
        table = exp.table_(self._table, db=self._database, quoted=True, alias=PLACEHOLDER)
        select = exp.select(*_aliased(self._columns)).from_(table)
        return select.where(*(c.copy() for c in self._whole)) if self._whole else select

    def edges(self) -> exp.Select:
        """The same of the landing rows that are in no such piece."""
        database, table = self._mine.landing.split(".")
        select = exp.select(*_aliased({name: self._mine.columns[name] for name in self._columns}))
        select = select.from_(exp.table_(table, db=database, quoted=True, alias=ROW))
        outside = exp.Not(this=exp.paren(exp.and_(*(c.copy() for c in self._inside), copy=False)))
        select = select.where(*(c.copy() for c in self._mine.filters), outside)
        groups = [key.copy() for key in self._mine.groups]
        return select.group_by(*groups) if groups else select

    def _take(self, kept: Flat) -> None:
        """Divides the conditions into those that the state meets by itself, those on its keys, and bounds of time."""
        met = {untyped(c) for c in kept.filters}
        lacking = met - {untyped(c) for c in self._mine.filters}
        if lacking:
            raise NoStateError(f"keeps only rows with {' and '.join(sorted(map(_line, lacking)))}")
        for condition in self._mine.filters:
            if untyped(condition) in met:
                continue
            keyed = self._over_keys(condition)
            if keyed is not None:
                self._whole.append(keyed)
            elif not self._bounded(condition):
                raise NoStateError(
                    f"is not grouped by what `{_line(condition)}` needs", len(self._whole) + len(self._inside)
                )

    def _matched(self, kept: Flat, state: State) -> Iterator[tuple[str, exp.Expr]]:
        """The columns that are asked for, over the state."""
        held = {bare(c): n for n, c in kept.columns.items() if n not in (*state.order_by, UPDATED_AT, FAILED)}
        groups = {untyped(key) for key in self._mine.groups}
        for name, value in self._mine.columns.items():
            if name == UPDATED_AT:
                continue
            if name == FAILED:
                if FAILED not in kept.columns or not _failures(value) <= _failures(kept.columns[FAILED]):
                    raise NoStateError("does not count the same failures", len(self._mine.filters))
                yield name, column(FAILED, PLACEHOLDER)
            elif untyped(value) in groups:
                keyed = self._over_keys(value)
                if keyed is None:
                    raise NoStateError(f"is not grouped by {_line(value)}", len(self._mine.filters))
                yield name, keyed
            elif bare(value) in held:
                yield name, column(held[bare(value)], PLACEHOLDER)
            else:
                raise NoStateError(f"does not keep {_line(value)}", len(self._mine.filters))

    def _over_keys(self, node: exp.Expr) -> exp.Expr | None:
        """``node`` over the columns of the state; None where it needs more than its keys."""

        def keyed(found: exp.Expr) -> exp.Expr:
            name = self._names.get(untyped(found)) if isinstance(found, (exp.Column, exp.Anonymous)) else None
            return column(name, PLACEHOLDER) if name is not None else found

        made = node.copy().transform(keyed)
        return None if any(c.table == ROW for c in made.find_all(exp.Column)) else made

    def _bounded(self, condition: exp.Expr) -> bool:
        """Takes ``condition`` where it bounds the time that a key cuts."""
        if not isinstance(condition, _RANGES):
            return False
        kind: type[exp.Expr] = type(condition)
        sides = [(condition.left, condition.right, kind), (condition.right, condition.left, _TURNED[kind])]
        for side, moment, kind in sides:
            if any(c.table == ROW for c in moment.find_all(exp.Column)):
                continue
            for name, cut in self._cuts:
                converted = time_of(side.unnest(), cut, self._kind)
                if converted is not None:
                    self._bound(name, cut, kind, converted(moment.unnest()))
                    return True
        return False

    def _bound(self, name: str, cut: Bucket, kind: type[exp.Expr], moment: exp.Expr) -> None:
        key, time = column(name, PLACEHOLDER), cut.time.copy()
        if kind in (exp.GT, exp.GTE):
            first = cut.later(moment, included=kind is exp.GTE)
            self._whole.append(exp.GTE(this=key, expression=cut.key_at(first)))
            self._inside.append(exp.GTE(this=time, expression=cut.begin_of(first)))
        else:
            self._whole.append(exp.LT(this=key, expression=cut.key_at(moment)))
            self._inside.append(exp.LT(this=time, expression=cut.begin_of(moment)))
        self.width = max(self.width, cut.width)
        self.cut.append(name)


def _aliased(columns: Mapping[str, exp.Expr]) -> list[exp.Expr]:
    return [exp.alias_(value.copy(), quote(name)) for name, value in columns.items()]


def _failures(counted: exp.Expr) -> set[exp.Expr]:
    """What ``sumSimpleState(toUInt64(a OR b))`` counts: a and b."""
    (flag,) = counted.expressions[0].expressions
    return {bare(a) for a in alternatives(flag) if not isinstance(a, exp.Literal)}


def _line(node: exp.Expr) -> str:
    return " ".join(readable(node).split())
