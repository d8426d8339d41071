"""Group keys that cut time into pieces, as `date_trunc` and `time_bucket` do, in the forms that the compiler writes.

Of such a key g over a time x is known: g(x) <= x, g never falls, and g(g(x)) = g(x). So with a bound y, all of a piece
meets ``x > y`` and ``x >= y`` where the piece is not before g(y + the widest piece), which begins one, and all of it
meets ``x < y`` and ``x <= y`` where it is before g(y).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlglot import exp

from realtime.planner.flat import bare, rewritten
from realtime.transpile.form import call, form, is_cast, wrapped

_MOMENT = "DateTime64(6, 'UTC')"
_DAYS = {"month": 31, "quarter": 92, "year": 366}
_DAY = 86_400_000_000


@dataclasses.dataclass(frozen=True)
class Bucket:
    """``key`` is the key over the time ``time``; ``begins`` its beginning in the type of ``time``. ``width`` is that of
    the widest piece, in microseconds; times that are dates have ``days``."""

    key: exp.Expr
    time: exp.Expr
    begins: exp.Expr
    width: int
    days: bool = False

    def key_at(self, moment: exp.Expr) -> exp.Expr:
        """The key of the piece that holds ``moment``."""
        return _with(self.key, self.time, moment)

    def begin_of(self, moment: exp.Expr) -> exp.Expr:
        """When the piece that holds ``moment`` begins."""
        return _with(self.begins, self.time, moment)

    def later(self, moment: exp.Expr, *, included: bool) -> exp.Expr:
        """A moment in the first piece that begins after ``moment``, or at it where that is ``included``; or in one
        after it, where pieces are not equally wide."""
        if self.days:
            return call("addDays", moment, self.width // _DAY - included)
        return call("addMicroseconds", moment, call("toInt64", self.width - included))


def bucket(key: exp.Expr, kind: Callable[[exp.Expr], str]) -> Bucket | None:
    """What the key cuts, and how; None where it is no such key. ``kind`` gives the ClickHouse type of a column."""
    inner = _untyped(key)
    for read in (_floored, _months, _dates):
        found = read(key, inner, kind)
        if found is not None:
            return found
    return None


def time_of(side: exp.Expr, found: Bucket, kind: Callable[[exp.Expr], str]) -> Callable[[exp.Expr], exp.Expr] | None:
    """How a moment that is compared with ``side`` becomes one of ``found.time``: ``side`` is that time, or the column
    that it is made of without loss; None where it is neither."""
    plain, time = bare(side), bare(found.time)
    if plain == time:
        return lambda moment: moment
    if not isinstance(side, exp.Column):
        return None
    if kind(side) == "Date32" and time == bare(form("toDateTime64(x, 6, 'UTC')", x=side)):
        return lambda moment: form("toDateTime64(x, 6, 'UTC')", x=moment)
    if kind(side) == _MOMENT and _is_moment_cast(time) and bare(time.expressions[0]) == plain:
        return lambda moment: moment
    return None


def _floored(key: exp.Expr, inner: exp.Expr, kind: Callable[[exp.Expr], str]) -> Bucket | None:
    """``fromUnixTimestamp64Micro(us(x) - positiveModulo(us(x) - origin, toInt64(width)), 'UTC')``."""
    if not _is(inner, "fromUnixTimestamp64Micro") or not isinstance(inner.expressions[0], exp.Sub):
        return None
    micros, rest = inner.expressions[0].left, inner.expressions[0].right.unnest()
    if not _is(micros, "toUnixTimestamp64Micro") or not _is(rest, "positiveModulo"):
        return None
    offset, width = rest.expressions[0].unnest(), rest.expressions[1]
    if isinstance(offset, exp.Sub) and isinstance(offset.right, exp.Literal):
        offset = offset.left
    literal = width.expressions[0] if _is(width, "toInt64") else None
    if bare(offset) != bare(micros) or not isinstance(literal, exp.Literal) or literal.is_string:
        return None
    return Bucket(key, micros.expressions[0], inner, int(literal.name))


def _months(key: exp.Expr, inner: exp.Expr, kind: Callable[[exp.Expr], str]) -> Bucket | None:
    """``toDateTime64(dateTrunc('month', day), 6, 'UTC')``, the day being a column or of a time."""
    cut = inner.expressions[0] if _is(inner, "toDateTime64") else None
    if cut is None or not _is(cut, "dateTrunc") or cut.expressions[0].name not in _DAYS:
        return None
    day, width = cut.expressions[1], _DAYS[cut.expressions[0].name] * _DAY
    if _is(day, "toDate32"):
        return Bucket(key, day.expressions[0], inner, width)
    return Bucket(key, day, cut, width, days=True) if _is_date(day, kind) else None


def _dates(key: exp.Expr, inner: exp.Expr, kind: Callable[[exp.Expr], str]) -> Bucket | None:
    """``toDate32(x, 'UTC')``, the date of a time."""
    if not _is(inner, "toDate32") or not isinstance(inner.expressions[0], exp.Column):
        return None
    time = inner.expressions[0]
    return Bucket(key, time, form("toDateTime64(d, 6, 'UTC')", d=inner), _DAY) if kind(time) == _MOMENT else None


def _is_date(node: exp.Expr, kind: Callable[[exp.Expr], str]) -> bool:
    return isinstance(node, exp.Column) and kind(node) == "Date32"


def _untyped(key: exp.Expr) -> exp.Expr:
    """``key`` without the cast that fixes the type of its column."""
    made: exp.Expr = key.expressions[0] if is_cast(key, "Nullable(Date32)") or _is_moment_cast(key) else key
    if is_cast(key, "Nullable(Date32)"):
        return made if _is(made, "toDate32") else key
    return made if _is(made, "fromUnixTimestamp64Micro") or _is(made, "toDateTime64") else key


def untyped(node: exp.Expr) -> exp.Expr:
    """`bare`, without casts that only fix the type of a key of time: as a column it has one, in GROUP BY none."""
    return rewritten(bare(node), exp.Anonymous, _untyped)


def _is_moment_cast(node: exp.Expr) -> bool:
    return is_cast(node, f"Nullable({_MOMENT})") or is_cast(node, _MOMENT)


def _is(node: exp.Expr | None, name: str) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == name


def _with(tree: exp.Expr, time: exp.Expr, moment: exp.Expr) -> exp.Expr:
    """``tree`` with ``moment`` in place of ``time``."""
    sought = bare(time)
    return rewritten(
        tree, type(time), lambda found: wrapped(moment.copy(), found.parent) if bare(found) == sought else found
    )
