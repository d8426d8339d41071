"""What may fail on a row that landed. A materialized view must not hold it: the landing table would keep the row,
the state would never get it, and no one would know.

Whatever is not listed here may fail. What is listed was tried on rows of extremes and at both ends of the calendar
(1900 and 2299), in materialized views and on DuckDB: `tests/planner/insertable*.sql`.
"""

from __future__ import annotations

from sqlglot import exp

# ClickHouse functions that take every value that a landed row can hold, in the forms in which the compiler uses them.
HARMLESS = frozenset(
    """
CAST JSONExtractRaw JSONExtractString JSONHas JSONLength JSONType MD5 SHA256 abs accurateCastOrNull acos addDays
addMonths addQuarters addWeeks addYears arrayAll arrayElement arrayElementOrNull arrayEnumerate arrayFilter arrayJoin
arrayMap arrayPushBack arrayPushFront arrayReduce arrayResize arrayReverseSort arraySort arrayStringConcat asin
assumeNotNull atan atan2 bitAnd bitNot bitOr bitXor cbrt ceil coalesce concat cos dateDiff dateName dateTrunc degrees
empty endsWith exp extractAll extractGroups floor formatDateTime fromUnixTimestamp64Micro greatest has hasAll hasAny
hex if ifNull indexOf isFinite isInfinite isNaN isNotNull isNull least leftPad length lengthUTF8 like log log10 log2
lower lowerUTF8 match multiIf negate notEmpty nullIf pi position positionUTF8 positiveModulo pow radians regexpExtract
reinterpretAsUInt128 reinterpretAsUInt64 replaceAll replaceRegexpAll replaceRegexpOne reverse round sign sin
splitByString sqrt startsWith substring substringUTF8 tan toDate32 toDateTime64 toDayOfMonth toDayOfWeek toDecimal256
toDecimal256OrNull toDecimalString toFloat64 toFloat64OrNull toHour toISOWeek toISOYear toInt128 toInt256
toInt256OrNull toInt32 toInt32OrZero toInt64 toInt64OrZero toMicrosecond toMinute toMonth toNullable toQuarter
toSecond toStartOfMonth toString toUInt64 toUInt8 toUUIDOrNull toUnixTimestamp64Micro toYear toYearWeek translateUTF8
trimBoth trimRight trunc tuple tupleElement unbin unhex upperUTF8
""".split()  # noqa: SIM905 - a list of quoted names would fill two pages
)
# Aggregate functions that take every value; here they have the suffix -State, -SimpleState or -IfState.
AGGREGATES = frozenset(
    """
argMax argMin corrStable count covarPopStable covarSampStable entropy groupArray groupBitAnd groupBitOr groupBitXor
groupUniqArray max min stddevPopStable stddevSampStable sum sumDistinct sumKahan uniqExact varPopStable varSampStable
""".split()  # noqa: SIM905 - as above
)
_SUFFIXES = ("SimpleState", "IfState", "State")
OPERATORS = (
    exp.Column, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Array, exp.Tuple,
    exp.And, exp.Or, exp.Not, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div,
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.In,
)  # fmt: skip
"""Operators that do not fail: the compiler checks sums and products with `accurateCast` and `throwIf`, and divides
floats, or by numbers written out, with ``/``."""

# What some that do raise stand for in the model.
THROWING: dict[str, str] = {
    "accurateCast": "arithmetic or a cast that may overflow",
    "throwIf": "a cast that may fail, or arithmetic that may overflow",
    "toUUID": "a cast of text to UUID",
    "repeat": "repeat, which has a limit",
    "range": "a range, which has a limit",
    "editDistance": "an edit distance, which has a limit",
    "leftPadUTF8": "padding to a length that may be too large",
    "rightPadUTF8": "padding to a length that may be too large",
}
REMEDY = "cast to a wider type first, or use try_cast or nullif(divisor, 0)"
_BY_ZERO = "a division by what may be zero"
# The place of the argument that must be a constant.
_SIZED = {"leftPadUTF8": 1, "rightPadUTF8": 1, "repeat": 1}
MOVING = {
    "addHours": 24, "addMinutes": 24 * 60, "addSeconds": 86_400, "addMilliseconds": 86_400 * 10**3,
    "addMicroseconds": 86_400 * 10**6,
}  # fmt: skip
"""Functions that move a time by units of which a day has so many; those of days and longer units stop at the years
1 and 9999, these overflow."""
_PARSED = "_g"
"""The groups of a text that the compiler parses as a moment: two digits of hours, minutes and seconds each."""


def throwing(query: exp.Expr) -> str | None:
    """What in ``query`` may fail on some row, in words; None where nothing can."""
    return next(filter(None, map(reason_of, query.walk())), None)


def reason_of(node: exp.Expr) -> str | None:
    """What in ``node`` itself, its parts aside, may fail; None where nothing can."""
    if isinstance(node, exp.Mod):
        return None if _nonzero(node.expression) else _BY_ZERO
    if not isinstance(node, exp.Anonymous):
        known = not isinstance(node, exp.Condition) or isinstance(node, OPERATORS)
        return None if known else f"{node.key}, which is not known to take every value,"
    name = node.name
    if name in ("intDiv", "modulo"):
        return None if _nonzero(node.expressions[1]) else _BY_ZERO
    if name in _SIZED and node.expressions[_SIZED[name]].find(exp.Column) is None:
        return None
    if name in MOVING:
        return None if _is_bounded(node.expressions[1]) else "moving a time by a column"
    if name == "throwIf" and node.expressions[0].find(exp.Column) is None and not node.expressions[0].is_number:
        # Known when the view is made: ClickHouse refuses to make it where it holds.
        return None
    if name in HARMLESS or _aggregate(name) in AGGREGATES:
        return None
    return THROWING.get(name, f"{name}, which is not known to take every value,")


def _is_bounded(amount: exp.Expr) -> bool:
    """Whether ``amount`` is a constant, made of two digits, or 0 where it would be too large."""
    if _is_call(amount, "if") and _number(amount.expressions[1]) == 0:
        condition, _, kept = amount.expressions
        return any(
            isinstance(above.this, exp.Anonymous) and kept in above.this.walk() for above in condition.find_all(exp.GT)
        )
    return all(c.name == _PARSED and not c.table for c in amount.find_all(exp.Column))


def _aggregate(name: str) -> str:
    """The aggregate function of a state's column; "" for any other function."""
    return next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), "")


def _nonzero(divisor: exp.Expr) -> bool:
    """Whether ``divisor`` is a number written out and not 0, or is NULL where it would be."""
    if _is_call(divisor, "if"):
        condition, then, otherwise = divisor.expressions
        zeros = isinstance(condition, exp.EQ) and condition.left == otherwise and _number(condition.right) == 0
        return zeros and isinstance(then, exp.Null)
    if _is_call(divisor) and len(divisor.expressions) <= 2 and _number(divisor) is None:
        return _nonzero(divisor.expressions[0])
    return _number(divisor) not in (None, 0)


def _number(node: exp.Expr) -> float | None:
    """The value of a number written out, conversions around it aside."""
    while isinstance(node, exp.Paren) or _is_call(node):
        node = node.this if isinstance(node, exp.Paren) else node.expressions[0]
    if isinstance(node, exp.Neg):
        inner = _number(node.this)
        return None if inner is None else -inner
    is_number = isinstance(node, exp.Literal) and node.name.replace(".", "", 1).isdigit()
    return float(node.name) if is_number else None


def _is_call(node: exp.Expr, name: str = "") -> bool:
    """A conversion (``CAST``, ``toInt64`` …), or the function ``name``."""
    if not isinstance(node, exp.Anonymous) or not node.expressions:
        return False
    return node.name == name if name else node.name == "CAST" or node.name.startswith(("to", "accurateCast"))
