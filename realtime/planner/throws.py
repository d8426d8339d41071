"""What may fail on a row that landed. A materialized view must not hold it: the landing table would keep the row,
the state would never get it, and no one would know."""

from __future__ import annotations

from sqlglot import exp

# ClickHouse functions that raise on some values, and what they stand for in the model.
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
# Of the functions above, those that are safe where the argument at this place is a constant.
_SIZED = {"leftPadUTF8": 1, "rightPadUTF8": 1, "repeat": 1}


def throwing(query: exp.Expr) -> str | None:
    """What in ``query`` may fail on some row, in words; None where nothing can."""
    return next(filter(None, map(reason_of, query.walk())), None)


def reason_of(node: exp.Expr) -> str | None:
    """What in ``node`` itself, its parts aside, may fail; None where nothing can."""
    if isinstance(node, exp.Mod):
        return None if _nonzero(node.expression) else _BY_ZERO
    if not isinstance(node, exp.Anonymous):
        return None
    if node.name in ("intDiv", "modulo"):
        return None if _nonzero(node.expressions[1]) else _BY_ZERO
    if node.name in _SIZED and node.expressions[_SIZED[node.name]].find(exp.Column) is None:
        return None
    return THROWING.get(node.name)


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
