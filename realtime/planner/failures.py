"""What an expression that may fail becomes on insert: a form that can't, and the condition on which it would have.

Each throwing form of the compiler has its counterpart in ``_FORMS``; what is not there is computed when read. Which
parts of an expression are computed at all is as in DuckDB (measured on 2.0): CASE and COALESCE stop at the value
they need, and a column that a subquery computes is computed for every row that its filters let through. AND and OR
compute all sides where their value is needed; in conditions they stop at the side that decides, which DuckDB looks
for in an order that it changes as it runs, so what one side decides no failure of the other counts against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp

from realtime.planner.throws import MOVING, reason_of
from realtime.transpile.form import call, column, form

Guarded = tuple[exp.Expr, exp.Expr | None]
"""A value that can't fail, and a UInt8 that is 1 where the original would have; None where it can't either."""


class UncountableError(Exception):
    """The expression may fail in a way that has no counterpart; the text says which."""


class Guard:
    """Rewrites expressions over a subquery ``alias``; ``flags`` maps its columns that may have failed to those that
    say so."""

    def __init__(self, alias: str, flags: Mapping[str, str]) -> None:
        self._alias, self._flags = alias, flags

    def value(self, node: exp.Expr) -> Guarded:
        """``node`` guarded, where its value is needed whole; UncountableError where it can't be."""
        if not self._may_fail(node):
            return node, None
        if isinstance(node, exp.Column):
            return node, column(self._flags[node.name], self._alias)
        if isinstance(node, exp.Anonymous) and node.name in _LAZY:
            return _LAZY[node.name](self, node)
        found = _form(node)
        if found is not None:
            return found(self, node)
        reason = reason_of(node)
        if reason is not None:
            raise UncountableError(reason)
        if isinstance(node, exp.Lambda) or node.name.lower() == "arrayjoin":
            raise UncountableError("an element of a list that may fail")
        return self._parts(node)

    def condition(self, node: exp.Expr) -> Guarded:
        """``node`` guarded, where it decides about a row or a branch."""
        if isinstance(node, exp.Paren):
            inner, failed = self.condition(node.this)
            return exp.paren(inner), failed
        if not isinstance(node, (exp.And, exp.Or)) or not self._may_fail(node):
            return self.value(node)
        sides = [self.condition(node.left), self.condition(node.right)]
        copy = node.copy()
        copy.set("this", sides[0][0].copy())
        copy.set("expression", sides[1][0].copy())
        # AND is decided by a side that does not hold, OR by one that does; a side that fails decides nothing.
        undecided = "ifNull(x, 0)" if isinstance(node, exp.And) else "NOT ifNull(x, 0)"
        failed = either(*(lost for _, lost in sides))
        for value, lost in sides:
            if lost != failed:
                failed = form("(a) AND f", a=either(lost, form(undecided, x=value)) or 0, f=failed or 0)
        return copy, failed

    def _parts(self, node: exp.Expr) -> Guarded:
        """A node that does not fail by itself: it fails where one of its parts does."""
        copy, failed = node.copy(), None
        for name, given in node.args.items():
            if isinstance(given, exp.Expr):
                value, lost = self.value(given)
                copy.set(name, value.copy())
                failed = either(failed, lost)
            elif isinstance(given, list) and any(isinstance(g, exp.Expr) for g in given):
                pairs = [self.value(g) for g in given]
                copy.set(name, [value.copy() for value, _ in pairs])
                failed = either(failed, *(lost for _, lost in pairs))
        return copy, failed

    def _may_fail(self, node: exp.Expr) -> bool:
        flagged = (c for c in node.find_all(exp.Column) if c.table == self._alias and c.name in self._flags)
        return any(True for _ in flagged) or any(reason_of(n) is not None for n in node.walk())


def either(*conditions: exp.Expr | None) -> exp.Expr | None:
    """Whether any of ``conditions`` holds; None where there is none."""
    found = list(dict.fromkeys(c for c in conditions if c is not None))
    if not found:
        return None
    joined = found[0]
    for other in found[1:]:
        joined = exp.Or(this=joined.copy(), expression=other.copy())
    return joined


def _branches(guard: Guard, node: exp.Anonymous) -> Guarded:
    """``if`` and ``multiIf``: conditions up to the first that holds, and the value beside it."""
    *pairs, last = node.expressions
    value, failed = guard.value(last)
    arguments = [value]
    for condition, then in reversed(list(zip(pairs[::2], pairs[1::2], strict=True))):
        (test, lost), (chosen, broken) = guard.condition(condition), guard.value(then)
        arguments[:0] = [test, chosen]
        if failed is not None or broken is not None:
            failed = form("if(c, a, b)", c=test, a=broken or 0, b=failed or 0)
        failed = either(lost, failed)
    return call(node.name, *arguments), failed


def _first_known(guard: Guard, node: exp.Anonymous) -> Guarded:
    """``coalesce`` and ``ifNull``: values up to the first that is not NULL."""
    pairs = [guard.value(e) for e in node.expressions]
    failed: exp.Expr | None = None
    for value, lost in reversed(pairs):
        later = form("isNull(x) AND f", x=value, f=failed) if failed is not None else None
        failed = either(lost, later)
    return call(node.name, *(value for value, _ in pairs)), failed


_LAZY: dict[str, Callable[[Guard, exp.Anonymous], Guarded]] = {
    "if": _branches,
    "multiIf": _branches,
    "coalesce": _first_known,
    "ifNull": _first_known,
}


def _or_null(function: str) -> Callable[[Guard, exp.Expr], Guarded]:
    """The function that gives NULL where this one throws."""

    def build(guard: Guard, node: exp.Expr) -> Guarded:
        pairs = [guard.value(e) for e in node.expressions]
        values = [value for value, _ in pairs]
        if function == "accurateCastOrNull":
            values[1] = exp.Literal.string(_bare_type(values[1].name))
        found = call(function, *values)
        lost = form("isNotNull(x) AND isNull(y)", x=values[0], y=found)
        return found, either(*(failed for _, failed in pairs), lost)

    return build


def _bare_type(name: str) -> str:
    return name.removeprefix("Nullable(")[:-1] if name.startswith("Nullable(") else name


def _beyond(guard: Guard, node: exp.Expr) -> Guarded:
    """``x + throwIf(condition, why)``; the value under the NULL is computed too, so it is made 0."""
    assert isinstance(node, exp.Add)
    condition, failed = guard.value(node.right.expressions[0])
    value, lost = guard.value(node.left)
    if condition.is_number:
        return exp.null(), exp.Literal.number(1)
    kept = form("if(c, NULL, x * (NOT c))", c=condition, x=value)
    return kept, either(lost, failed, form("ifNull(c, 0)", c=condition))


def _always(guard: Guard, node: exp.Expr) -> Guarded:
    """``toInt256(throwIf(1, why))``: nothing but the failure, in a branch of its own."""
    return exp.null(), exp.Literal.number(1)


def _divided(guard: Guard, node: exp.Expr) -> Guarded:
    """A division that fails by zero alone: by NULL instead."""
    sides = node.expressions if isinstance(node, exp.Anonymous) else [node.this, node.expression]
    (left, lost), (right, broken) = (guard.value(side) for side in sides)
    divisor = form("if(r = 0, NULL, r)", r=right)
    failed = either(lost, broken, form("isNotNull(l) AND ifNull(r = 0, 0)", l=left, r=right))
    if isinstance(node, exp.Anonymous):
        return call(node.name, left, divisor), failed
    return form("l % r", l=left, r=divisor), failed


_DAYS = 1_800 * 365
"""How far a time may be moved: from anywhere in 1900 to 2299 it stays in the years that ClickHouse has."""


def _moved(guard: Guard, node: exp.Expr) -> Guarded:
    """``addSeconds(moment, amount)``: by nothing where the amount leads out of the calendar."""
    (moment, lost), (amount, broken) = (guard.value(e) for e in node.expressions)
    far = form("ifNull(abs(toInt256(n)) > most, 0)", n=amount, most=_DAYS * MOVING[node.name])
    return call(node.name, moment, form("if(far, 0, n)", far=far, n=amount)), either(lost, broken, far)


_FORMS: dict[str, Callable[[Guard, exp.Expr], Guarded]] = {
    "accurateCast": _or_null("accurateCastOrNull"),
    "toUUID": _or_null("toUUIDOrNull"),
    "intDiv": _divided,
    "modulo": _divided,
    **dict.fromkeys(MOVING, _moved),
}


def _form(node: exp.Expr) -> Callable[[Guard, exp.Expr], Guarded] | None:
    """How ``node`` itself fails, where it is a form that is known; None where it does not, or not so."""
    if isinstance(node, exp.Add) and _raises(node.right):
        return _beyond
    if isinstance(node, exp.Mod) and reason_of(node) is not None:
        return _divided
    if not isinstance(node, exp.Anonymous):
        return None
    if node.expressions and _raises(node.expressions[0]) and node.expressions[0].expressions[0].is_number:
        return _always
    return _FORMS.get(node.name) if reason_of(node) is not None else None


def _raises(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == "throwIf"
