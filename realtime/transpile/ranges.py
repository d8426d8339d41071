"""Between which values an exact number lies, as far as its expression tells: what fits its type needs no check.

A check that may fail keeps an expression out of materialized views (`realtime.planner.throws`), and costs time.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from sqlglot import exp

from realtime.transpile.types import DuckType, Kind

Range = tuple[Fraction, Fraction]
# DuckDB's texts and lists are shorter than this, and its dates nearer, counted in microseconds.
_LONGEST, _FARTHEST = Fraction(2**32), Fraction(2**62)


def fits(node: exp.Binary) -> bool:
    """Whether the exact result of the arithmetic ``node`` is always within its type."""
    found, operation = node.meta.get("duck"), _OPERATIONS.get(type(node))
    if not isinstance(found, DuckType) or operation is None:
        return False
    left, right, own = range_of(node.left), range_of(node.right), type_range(found)
    if left is None or right is None or own is None:
        return False
    result = operation(left, right)
    return own[0] <= result[0] and result[1] <= own[1]


def range_of(node: exp.Expr) -> Range | None:
    """The least and the greatest value of ``node``; None where it is no exact number."""
    found = node.meta.get("duck")
    own = type_range(found) if isinstance(found, DuckType) else None
    known = _known(node)
    if own is None or known is None:
        return own
    return max(own[0], known[0]), min(own[1], known[1])


def type_range(found: DuckType) -> Range | None:
    """The range of an integer or decimal type; None for others."""
    if found.kind is Kind.DECIMAL:
        most = Fraction(10**found.precision - 1, 10**found.scale)
        return -most, most
    return _INTEGERS.get(found.name)


def _bits(name: str) -> Range:
    bits = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}[name.removeprefix("U")]
    if name.startswith("U"):
        return Fraction(0), Fraction(2**bits - 1)
    return Fraction(-(2 ** (bits - 1))), Fraction(2 ** (bits - 1) - 1)


_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_INTEGERS = {name: _bits(name) for signed in _SIGNED for name in (signed, "U" + signed)}


def _known(node: exp.Expr) -> Range | None:
    """What the expression itself says, its type aside."""
    if isinstance(node, exp.Literal):
        value = None if node.is_string else Fraction(Decimal(node.name))
        return None if value is None else (value, value)
    if isinstance(node, exp.Paren):
        return range_of(node.this)
    if isinstance(node, exp.Neg):
        inner = range_of(node.this)
        return None if inner is None else (-inner[1], -inner[0])
    if isinstance(node, (exp.Length, exp.StrPosition)):
        return Fraction(0), _LONGEST
    if isinstance(node, exp.DateDiff):
        return -_FARTHEST, _FARTHEST
    if isinstance(node, exp.Cast):
        inner = range_of(node.this)
        # Rounding to fewer places moves a value by less than one.
        return None if inner is None else (inner[0] - 1, inner[1] + 1)
    if isinstance(node, exp.Coalesce):
        return _union([range_of(n) for n in (node.this, *node.expressions)])
    operation = _OPERATIONS.get(type(node))
    if operation is None or not isinstance(node, exp.Binary):
        return None
    left, right = range_of(node.left), range_of(node.right)
    return None if left is None or right is None else operation(left, right)


def _union(ranges: list[Range | None]) -> Range | None:
    known = [r for r in ranges if r is not None]
    return (min(r[0] for r in known), max(r[1] for r in known)) if known and len(known) == len(ranges) else None


def _sum(a: Range, b: Range) -> Range:
    return a[0] + b[0], a[1] + b[1]


def _difference(a: Range, b: Range) -> Range:
    return a[0] - b[1], a[1] - b[0]


def _product(a: Range, b: Range) -> Range:
    corners = [x * y for x in a for y in b]
    return min(corners), max(corners)


def _quotient(a: Range, b: Range) -> Range:
    """Whole division of integers; by 0 it fails, whatever the type."""
    if b[0] <= 0 <= b[1]:
        most = max(abs(a[0]), abs(a[1]))
        return -most, most
    corners = [Fraction(int(x / y)) for x in a for y in b]
    return min(corners), max(corners)


_OPERATIONS: dict[type[exp.Expr], Callable[[Range, Range], Range]] = {
    exp.Add: _sum,
    exp.Sub: _difference,
    exp.Mul: _product,
    exp.IntDiv: _quotient,
}
