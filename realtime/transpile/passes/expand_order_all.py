"""``ORDER BY ALL`` to every column of the select list, in their order."""

from __future__ import annotations

from sqlglot import exp


def expand_order_all(tree: exp.Query) -> exp.Query:
    """Rewrites every ``ORDER BY ALL`` of ``tree`` in place; stars are expanded already."""
    for order in list(tree.find_all(exp.Order)):
        item = order.expressions[0]
        query = order.parent
        if len(order.expressions) != 1 or not isinstance(item.this, exp.Var) or not isinstance(query, exp.Query):
            continue
        keys = []
        for name in query.named_selects:
            key = item.copy()
            key.set("this", exp.column(name, quoted=True))
            keys.append(key)
        order.set("expressions", keys)
    return tree
