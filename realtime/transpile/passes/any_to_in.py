"""``x = ANY (SELECT …)`` to ``x IN (SELECT …)``, and ``x <> ALL (SELECT …)`` to ``x NOT IN (SELECT …)``."""

from __future__ import annotations

from sqlglot import exp


def any_to_in(tree: exp.Query) -> exp.Query:
    """Rewrites every such comparison of ``tree`` in place; those with another operator are left, and refused later."""
    for kind, quantifier in ((exp.EQ, exp.Any), (exp.NEQ, exp.All)):
        for node in list(tree.find_all(kind)):
            side = node.expression
            query = side.this.unnest() if isinstance(side, quantifier) else None
            if not isinstance(query, exp.Query):
                continue
            found: exp.Expr = exp.In(this=node.this.copy(), query=exp.Subquery(this=query.copy()))
            node.replace(found if kind is exp.EQ else exp.Not(this=found))
    return tree
