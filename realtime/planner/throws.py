"""What may fail on a row that landed. A materialized view must not hold it: the landing table would keep the row,
the state would never get it, and no one would know."""

from __future__ import annotations

from sqlglot import exp

# ClickHouse functions that raise on some values, and what they stand for in the model.
THROWING: dict[str, str] = {
    "accurateCast": "arithmetic or a cast that may overflow",
    "throwIf": "a cast or a sum that may fail",
    "toUUID": "a cast of text to UUID",
    "repeat": "repeat, which has a limit",
    "range": "a range, which has a limit",
}


def throwing(query: exp.Expr) -> str | None:
    """What in ``query`` may fail on some row, in words; None where nothing can."""
    for node in query.walk():
        if isinstance(node, exp.Anonymous) and node.name in THROWING:
            return THROWING[node.name]
        if node.meta.get("throws"):
            return "an expression that may fail"
    return None
