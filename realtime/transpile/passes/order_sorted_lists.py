"""``list_sort(list(x))`` to ``list(x ORDER BY x)``: sorted, it does not depend on the order in which rows come."""

from __future__ import annotations

from sqlglot import exp


def order_sorted_lists(tree: exp.Query) -> exp.Query:
    """Rewrites every sorted list of ``tree`` in place that has no order yet."""
    for sort in list(tree.find_all(exp.ArraySort)):
        collected = sort.this
        if not isinstance(collected, exp.ArrayAgg) or isinstance(collected.this, exp.Order):
            continue
        value = collected.this.expressions[0] if isinstance(collected.this, exp.Distinct) else collected.this
        ascending, nulls = sort.args.get("asc"), sort.args.get("nulls_first")
        key = exp.Ordered(
            this=value.copy(),
            desc=isinstance(ascending, exp.Boolean) and not ascending.this,
            nulls_first=isinstance(nulls, exp.Boolean) and bool(nulls.this),
        )
        collected.set("this", exp.Order(this=collected.this.copy(), expressions=[key]))
        sort.replace(collected.copy())
    return tree
