"""``x > ALL (SELECT …)`` and ``x < ANY (SELECT …)`` to comparisons with the least or the greatest value; ``= ANY`` to
IN, ``<> ALL`` to NOT IN."""

from __future__ import annotations

from sqlglot import exp

_EXTREMES: dict[type[exp.Expr], tuple[type[exp.Expr], ...]] = {
    # What decides ALL; ANY is decided by the other end.
    exp.GT: (exp.Max,), exp.GTE: (exp.Max,), exp.LT: (exp.Min,), exp.LTE: (exp.Min,),
    exp.EQ: (exp.Min, exp.Max), exp.NEQ: (exp.Min, exp.Max),
}  # fmt: skip
_OTHER_END: dict[type[exp.Expr], type[exp.Expr]] = {exp.Max: exp.Min, exp.Min: exp.Max}
_CLAUSES = ("group", "having", "qualify", "limit", "offset", "distinct", "with_", "windows")


def expand_quantified(tree: exp.Query) -> exp.Query:
    """Rewrites every comparison of ``tree`` with ANY or ALL of a subquery in place; lists are left."""
    for node in list(tree.find_all(*_EXTREMES)):
        side = node.expression
        query = side.this.unnest() if isinstance(side, (exp.Any, exp.All)) else None
        if isinstance(query, exp.Query):
            node.replace(_compared(node, query, every=isinstance(side, exp.All)))
    return tree


def _compared(node: exp.Expr, query: exp.Query, *, every: bool) -> exp.Expr:
    if not every and isinstance(node, exp.EQ):
        return exp.In(this=node.this.copy(), query=exp.Subquery(this=query.copy()))
    if every and isinstance(node, exp.NEQ):
        return exp.Not(this=exp.In(this=node.this.copy(), query=exp.Subquery(this=query.copy())))
    extremes = _EXTREMES[type(node)]
    if not every and len(extremes) == 1:
        extremes = (_OTHER_END[extremes[0]],)
    parts = [type(node)(this=_wrapped(node.this), expression=_of(query, e)) for e in extremes]
    holds = exp.paren(exp.and_(*parts, copy=False) if every else exp.or_(*parts, copy=False))
    rows, known = _of(query, None), _of(query, exp.Count)
    return (
        exp.Case()
        .when(exp.EQ(this=rows.copy(), expression=exp.Literal.number(0)), exp.Boolean(this=every))
        .when(exp.Is(this=_wrapped(node.this), expression=exp.Null()), exp.null())
        .when(exp.Not(this=holds) if every else holds, exp.Boolean(this=not every))
        .when(exp.GT(this=rows, expression=known), exp.null())
        .else_(exp.Boolean(this=every))
    )


def _wrapped(node: exp.Expr) -> exp.Expr:
    return node.copy() if isinstance(node, (exp.Column, exp.Literal, exp.Paren, exp.Func)) else exp.paren(node.copy())


def _of(query: exp.Query, aggregate: type[exp.Expr] | None) -> exp.Subquery:
    """An aggregate of the values of ``query``: how many rows there are where it is None."""
    plain = isinstance(query, exp.Select) and not any(query.args.get(c) for c in _CLAUSES)
    if isinstance(query, exp.Select) and plain and query.expressions[0].find(exp.AggFunc, exp.Window, exp.Star) is None:
        found, value = query.copy(), query.expressions[0].unalias().copy()
        found.set("order", None)
    else:
        alias = exp.TableAlias(this=exp.to_identifier("_every"), columns=[exp.to_identifier("_value")])
        found, value = exp.Select().from_(exp.Subquery(this=query.copy(), alias=alias)), exp.column("_value")
    call = exp.Count(this=exp.Star(), big_int=True) if aggregate is None else aggregate(this=value)
    found.set("expressions", [exp.alias_(call, "_value")])
    return exp.Subquery(this=found)
