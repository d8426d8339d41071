"""``(a, b) IN (SELECT …)``, and IN of a subquery that names columns of the row around it, to EXISTS."""

from __future__ import annotations

import itertools

from sqlglot import exp

from realtime.transpile.annotate import aggregated
from realtime.transpile.correlated import outer_columns

_CLAUSES = ("group", "having", "qualify", "limit", "offset", "distinct", "with_", "windows")


def expand_in(tree: exp.Query) -> exp.Query:
    """Rewrites every such IN of ``tree``, which is qualified and whose aliases are unique, in place."""
    numbers = itertools.count(1)
    for node in list(tree.find_all(exp.In)):
        holder = node.args.get("query")
        query = holder.unnest() if isinstance(holder, exp.Subquery) else holder
        if not isinstance(query, exp.Query) or not (isinstance(node.this, exp.Tuple) or outer_columns(query)):
            continue
        negated = node.parent if isinstance(node.parent, exp.Not) else None
        place = negated or node
        place.replace(_existing(node, query, f"_in_{next(numbers)}", place, negated=negated is not None))
    return tree


def _existing(node: exp.In, query: exp.Query, alias: str, place: exp.Expr, *, negated: bool) -> exp.Expr:
    """Whether a row of ``query`` is the same; in a filter what is not known counts as no."""
    sought = node.this.expressions if isinstance(node.this, exp.Tuple) else [node.this]
    inner, values = _opened(query, alias)
    pairs = zip(sought, values, strict=True)
    same = exp.and_(*(exp.EQ(this=_wrapped(a), expression=_wrapped(b)) for a, b in pairs), copy=False)
    different = exp.Is(this=exp.paren(same.copy()), expression=exp.Boolean(this=False))
    found, possible = _exists(inner, same), _exists(inner, exp.Not(this=exp.paren(different)))
    if is_filter(place):
        return exp.Not(this=possible) if negated else found
    return exp.paren(
        exp.Case()
        .when(found, exp.Boolean(this=not negated))
        .when(possible, exp.null())
        .else_(exp.Boolean(this=negated))
    )


def _opened(query: exp.Query, alias: str) -> tuple[exp.Select, list[exp.Expr]]:
    """A query to which a condition can be added, and the values of its rows."""
    if isinstance(query, exp.Select) and not any(query.args.get(c) for c in _CLAUSES):
        values = [p.unalias().copy() for p in query.expressions]
        if not any(aggregated(v) or v.find(exp.Window, exp.Explode) for v in values):
            plain = query.copy()
            plain.set("order", None)
            return plain, values
    source = exp.Subquery(this=query.copy(), alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    return exp.Select().from_(source), [exp.column(n, table=alias, quoted=True) for n in query.named_selects]


def _exists(inner: exp.Select, condition: exp.Expr) -> exp.Exists:
    query = inner.where(condition.copy())
    query.set("expressions", [exp.alias_(exp.Literal.number(1), "1", quoted=True)])
    return exp.Exists(this=query)


def _wrapped(node: exp.Expr) -> exp.Expr:
    return node.copy() if isinstance(node, (exp.Column, exp.Literal, exp.Paren, exp.Func)) else exp.paren(node.copy())


def is_filter(node: exp.Expr) -> bool:
    """Whether ``node`` decides a filter through AND and OR only: NULL and false are the same there."""
    at = node.parent
    while isinstance(at, (exp.And, exp.Or, exp.Paren)):
        at = at.parent
    return isinstance(at, (exp.Where, exp.Having, exp.Qualify))
