"""``GROUP BY ALL`` to the projections that hold no aggregate and are no constants.

Where only constants are left DuckDB groups nothing: of no rows it gives one, or aggregates nothing at all.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.annotate import aggregated


def expand_group_all(tree: exp.Query) -> exp.Query:
    """Rewrites every ``GROUP BY ALL`` of ``tree`` in place; stars are expanded already."""
    for group in list(tree.find_all(exp.Group)):
        if not group.args.get("all"):
            continue
        select = group.parent
        assert isinstance(select, exp.Select)
        keys = [p.unalias().copy() for p in select.expressions if not aggregated(p) and _varies(p)]
        select.set("group", exp.Group(expressions=keys) if keys else None)
    return tree


def _varies(node: exp.Expr) -> bool:
    return node.find(exp.Column, exp.Query) is not None
