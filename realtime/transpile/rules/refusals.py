"""What is refused by name, with the reason and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from realtime.transpile.lower import Lower, Rule, name_of, refused, rule

_CLOCK = ("it depends on when the query runs", "use {{ as_of() }} in a lambda; in a model compare columns")
_CHANCE = ("it depends on chance", "keep a value that comes with the row")
_ORDER = ("it depends on the order of the rows", "give it an ORDER BY, or use min or max")
_ESTIMATE = ("both engines estimate, each in its own way", "use the exact aggregate")
_OWN = ("ClickHouse computes another value", "compute it in batch")

NODES: dict[type[exp.Expr], tuple[str, str]] = {
    exp.CurrentDate: _CLOCK,
    exp.CurrentTime: _CLOCK,
    exp.CurrentTimestamp: _CLOCK,
    exp.Localtimestamp: _CLOCK,
    exp.Rand: _CHANCE,
    exp.Uuid: _CHANCE,
    exp.ApproxDistinct: _ESTIMATE,
    exp.ApproxQuantile: _ESTIMATE,
    exp.Mode: ("of equally frequent values it picks any", "count per value and number the counts"),
    exp.Reverse: ("DuckDB reverses what a reader sees as letters, ClickHouse code points", "compute it in batch"),
    exp.ArrayDistinct: ("the order of its elements depends on chance", "write list_sort(list_distinct(x))"),
    exp.Format: ("ClickHouse has other formats", "join texts with ||"),
}
NAMES: dict[str, tuple[str, str]] = {
    "now": _CLOCK,
    "get_current_timestamp": _CLOCK,
    "transaction_timestamp": _CLOCK,
    "age": ("it gives an INTERVAL, which no column can hold", "use date_diff"),
    "printf": ("ClickHouse has other formats", "join texts with ||"),
    "hash": _OWN,
}


def is_clock(node: exp.Expr) -> bool:
    """Whether ``node`` reads the clock."""
    name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
    return _CLOCK in (NODES.get(type(node)), NAMES.get(name))


def _refusal(reason: str, remedy: str) -> Callable[[Lower, Any], exp.Expr]:
    def build(lower: Lower, node: exp.Expr) -> exp.Expr:
        raise refused(node, reason, remedy=remedy)

    return build


def _nulls(lower: Lower, node: exp.IgnoreNulls | exp.RespectNulls) -> exp.Expr:
    reason = f"{name_of(node.this)} with a rule for NULLs"
    raise refused(node, reason, remedy="use FILTER (WHERE x IS NOT NULL)")


_EVERY = " ".join(
    ("zone", "format", "check_null", "quantile", "accuracy", "weight", "deterministic", "lower", "upper", "sysdate")
)
RULES: dict[type[exp.Expr], Rule] = {
    **{kind: rule(_refusal(*why), _EVERY) for kind, why in NODES.items()},
    exp.IgnoreNulls: rule(_nulls),
    exp.RespectNulls: rule(_nulls),
}
FUNCTIONS: dict[str, Rule] = {name: rule(_refusal(*why)) for name, why in NAMES.items()}
