"""Which keys a grouping set has not: ``grouping(a, b)`` has a bit for each, the last one's is the lowest."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call
from realtime.transpile.lower import Lower, Rule, rule


def _grouping(lower: Lower, node: exp.Grouping | exp.GroupingId) -> exp.Expr:
    return call("toInt64", call("grouping", *(lower.canonical(key.unnest()) for key in node.expressions)))


RULES: dict[type[exp.Expr], Rule] = {exp.Grouping: rule(_grouping), exp.GroupingId: rule(_grouping)}
