"""``x BETWEEN a AND b`` to ``x >= a AND x <= b``: each comparison has its own types and NaN rules."""

from __future__ import annotations

from sqlglot import exp


def expand_between(tree: exp.Query) -> exp.Query:
    """Rewrites every BETWEEN of ``tree`` in place; BETWEEN SYMMETRIC is left, and refused later."""
    for between in list(tree.find_all(exp.Between)):
        if between.args.get("symmetric"):
            continue
        this = between.this
        low = exp.GTE(this=this.copy(), expression=between.args["low"].copy())
        high = exp.LTE(this=this.copy(), expression=between.args["high"].copy())
        between.replace(exp.paren(exp.And(this=low, expression=high)))
    return tree
