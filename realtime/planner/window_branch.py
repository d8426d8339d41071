"""A lambda's aggregates over a stream from one state: its whole pieces of time, and the landing rows that are in none.

A condition on the state's keys holds for all rows of a group or for none. A bound of a time that a key cuts becomes two
(`realtime.planner.buckets`): the pieces all of whose rows meet it, and the rows that are in them. Put in its place
below AND and OR, that stays true of the whole condition: what it leaves of pieces meets it, and rows that meet it and
are in none of these are the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from sqlglot import exp

from realtime.emit.readable import readable
from realtime.planner.buckets import Bucket, bucket, time_of, untyped
from realtime.planner.flat import ROW, Flat, alternatives, bare
from realtime.planner.ir import State
from realtime.planner.passes.carry_failures import FAILED
from realtime.planner.passes.split_aggregate import PLACEHOLDER, UPDATED_AT
from realtime.transpile.form import column, form, quote

_RANGES = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_TURNED: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE}
Both = tuple[exp.Expr, exp.Expr]
"""A condition on the state's pieces, and that on rows which says whether they are in one of them."""


class NoStateError(Exception):
    """Why a lambda is not answered from states; ``met`` counts what of it a state does have."""

    def __init__(self, reason: str, met: int = 0) -> None:
        super().__init__(reason)
        self.met = met


def keys_of(mine: Flat) -> list[str]:
    """The columns of ``mine`` that are made of what it is grouped by."""
    groups = {untyped(key) for key in mine.groups}
    return [name for name, value in mine.columns.items() if untyped(value) in groups]


def aggregates_of(mine: Flat) -> list[str]:
    """The other ones, but the hidden column that no lambda reads."""
    keys = {*keys_of(mine), UPDATED_AT}
    return [name for name in mine.columns if name not in keys]


class Branch:
    """Those of a lambda's aggregates ``mine`` that are ``wanted``, from ``state``, as far as the view ``kept`` fills
    it; ``columns`` are those that it has, over the state, with the keys, ``lacking`` says why others are not there.

    NoStateError where it has not the rows that are asked for. ``width`` is that of the widest piece, 0 where the state
    has all rows; ``cut`` names the keys that cut.
    """

    def __init__(
        self, mine: Flat, kept: Flat, state: State, kind: Callable[[exp.Expr], str], wanted: Collection[str]
    ) -> None:
        self.mine, self._kind = mine, kind
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
        self._never_null = True
        self._take(kept)
        self.lacking: list[NoStateError] = []
        held = {bare(c): n for n, c in kept.columns.items() if n not in (*state.order_by, UPDATED_AT, FAILED)}
        self.columns = {name: self._key(mine.columns[name]) for name in keys_of(mine)}
        for name in wanted:
            self._hold(name, kept, held)

    def whole(self, shown: Mapping[str, exp.Expr] | None = None) -> exp.Select:
        """The rows of the state that are asked for as a whole, as the columns ``shown``."""
        table = exp.table_(self._table, db=self._database, quoted=True, alias=PLACEHOLDER)
        select = exp.select(*aliased(self.columns if shown is None else shown)).from_(table)
        return select.where(*(c.copy() for c in self._whole)) if self._whole else select

    def edges(self, shown: Mapping[str, exp.Expr] | None = None) -> exp.Select:
        """The same of the landing rows that are in no such piece."""
        own = {name: self.mine.columns[name] for name in self.columns} if shown is None else shown
        return rows_of(self.mine, own, self._outside())

    def _outside(self) -> exp.Expr:
        inside = exp.and_(*(c.copy() for c in self._inside), copy=False)
        # Where a bound stands alone, what is NULL for a row does not meet the bound either.
        return exp.Not(this=exp.paren(inside)) if self._never_null else form("NOT ifNull(x, 0)", x=inside)

    def _take(self, kept: Flat) -> None:
        """Divides the conditions into those that the state meets by itself, those on its keys, and bounds of time."""
        met = {untyped(c) for c in kept.filters}
        lacking = met - {untyped(c) for c in self.mine.filters}
        if lacking:
            raise NoStateError(f"keeps only rows with {' and '.join(sorted(map(line, lacking)))}")
        for condition in self.mine.filters:
            if untyped(condition) in met:
                continue
            keyed = self._over_keys(condition)
            if keyed is not None:
                self._whole.append(keyed)
                continue
            both = self._both(condition)
            if both is None:
                raise NoStateError(
                    f"is not grouped by what `{line(condition)}` needs", len(self._whole) + len(self._inside)
                )
            self._never_null &= isinstance(condition, _RANGES)
            self._whole.append(both[0])
            self._inside.append(both[1])

    def _hold(self, name: str, kept: Flat, held: Mapping[exp.Expr, str]) -> None:
        """Adds the column ``name`` as the state has it, or why it has not."""
        value = self.mine.columns[name]
        if name == FAILED:
            if FAILED in kept.columns and _failures(value) <= _failures(kept.columns[FAILED]):
                self.columns[name] = column(FAILED, PLACEHOLDER)
            else:
                self.lacking.append(NoStateError("does not count the same failures", len(self.mine.filters)))
        elif bare(value) in held:
            self.columns[name] = column(held[bare(value)], PLACEHOLDER)
        else:
            self.lacking.append(NoStateError(f"does not keep {line(value)}", len(self.mine.filters)))

    def _key(self, value: exp.Expr) -> exp.Expr:
        keyed = self._over_keys(value)
        if keyed is None:
            raise NoStateError(f"is not grouped by {line(value)}", len(self.mine.filters))
        return keyed

    def _over_keys(self, node: exp.Expr) -> exp.Expr | None:
        """``node`` over the columns of the state; None where it needs more than its keys."""

        def keyed(found: exp.Expr) -> exp.Expr:
            name = self._names.get(untyped(found)) if isinstance(found, (exp.Column, exp.Anonymous)) else None
            return column(name, PLACEHOLDER) if name is not None else found

        made = node.copy().transform(keyed)
        return None if any(c.table == ROW for c in made.find_all(exp.Column)) else made

    def _both(self, condition: exp.Expr) -> Both | None:
        """``condition`` of pieces and of rows, where it is made of conditions on keys and bounds by AND and OR."""
        condition = condition.unnest()
        keyed = self._over_keys(condition)
        if keyed is not None:
            return keyed, condition.copy()
        if isinstance(condition, (exp.And, exp.Or)):
            left, right = self._both(condition.left), self._both(condition.right)
            if left is None or right is None:
                return None
            joined = exp.and_ if isinstance(condition, exp.And) else exp.or_
            return joined(left[0], right[0], copy=False), joined(left[1], right[1], copy=False)
        return self._bounded(condition)

    def _bounded(self, condition: exp.Expr) -> Both | None:
        """The same of a bound of the time that a key cuts."""
        if not isinstance(condition, _RANGES):
            return None
        kind: type[exp.Expr] = type(condition)
        sides = [(condition.left, condition.right, kind), (condition.right, condition.left, _TURNED[kind])]
        for side, moment, kind in sides:
            if any(c.table == ROW for c in moment.find_all(exp.Column)):
                continue
            for name, cut in self._cuts:
                converted = time_of(side.unnest(), cut, self._kind)
                if converted is not None:
                    return self._bound(name, cut, kind, converted(moment.unnest()))
        return None

    def _bound(self, name: str, cut: Bucket, kind: type[exp.Expr], moment: exp.Expr) -> Both:
        self.width = max(self.width, cut.width)
        self.cut.append(name)
        key, time = column(name, PLACEHOLDER), cut.time.copy()
        if kind in (exp.GT, exp.GTE):
            first = cut.later(moment, included=kind is exp.GTE)
            return (
                exp.GTE(this=key, expression=cut.key_at(first)),
                exp.GTE(this=time, expression=cut.begin_of(first)),
            )
        return exp.LT(this=key, expression=cut.key_at(moment)), exp.LT(this=time, expression=cut.begin_of(moment))


def rows_of(mine: Flat, shown: Mapping[str, exp.Expr], *also: exp.Expr) -> exp.Select:
    """The landing rows of ``mine`` that meet ``also``, aggregated to the columns ``shown``."""
    database, table = mine.landing.split(".")
    select = exp.select(*aliased(shown)).from_(exp.table_(table, db=database, quoted=True, alias=ROW))
    conditions = [*(c.copy() for c in mine.filters), *also]
    select = select.where(*conditions) if conditions else select
    groups = [key.copy() for key in mine.groups]
    return select.group_by(*groups) if groups else select


def aliased(columns: Mapping[str, exp.Expr]) -> list[exp.Expr]:
    return [exp.alias_(value.copy(), quote(name)) for name, value in columns.items()]


def line(node: exp.Expr) -> str:
    """``node`` on one line."""
    return " ".join(readable(node).split())


def _failures(counted: exp.Expr) -> set[exp.Expr]:
    """What ``sumSimpleState(toUInt64(a OR b))`` counts: a and b."""
    (flag,) = counted.expressions[0].expressions
    return {bare(a) for a in alternatives(flag) if not isinstance(a, exp.Literal)}
