"""``DISTINCT ON (keys) … ORDER BY`` to the first row by ``row_number()``, which is what it keeps."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.lower import refused


def expand_distinct_on(tree: exp.Query) -> exp.Query:
    """Rewrites every DISTINCT ON of ``tree`` in place; RefusedError where no ORDER BY says which row comes first."""
    for select in list(tree.find_all(exp.Select)):
        distinct = select.args.get("distinct")
        if distinct is None or distinct.args.get("on") is None:
            continue
        order = select.args.get("order")
        if order is None or select.args.get("qualify") is not None:
            raise refused(
                distinct,
                "DISTINCT ON without ORDER BY, or beside QUALIFY, keeps a row that depends on chance",
                remedy="add an ORDER BY, or filter by QUALIFY row_number() OVER (…) = 1",
            )
        on = distinct.args["on"]
        keys = on.expressions if isinstance(on, exp.Tuple) else [on.unnest()]
        window = exp.Window(
            this=exp.RowNumber(),
            partition_by=[_expression(k, select) for k in keys],
            order=exp.Order(expressions=[_ordered(o, select) for o in order.expressions]),
            over="OVER",
        )
        first = exp.EQ(this=window, expression=exp.Literal.number(1))
        select.set("qualify", exp.Qualify(this=first))
        select.set("distinct", None)
    return tree


def _ordered(item: exp.Ordered, select: exp.Select) -> exp.Ordered:
    copy = item.copy()
    copy.set("this", _expression(item.this, select))
    return copy


def _expression(key: exp.Expr, select: exp.Select) -> exp.Expr:
    """``key``, or what the select list shows under that name."""
    if isinstance(key, exp.Column) and not key.table:
        for projection in select.expressions:
            if projection.alias_or_name == key.name:
                value: exp.Expr = projection.unalias()
                return value.copy()
    return key.copy()
