"""``EXCEPT ALL`` and ``INTERSECT ALL`` to their plain forms over rows whose duplicates are numbered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sqlglot import exp

_NUMBER = "_duplicate"


def expand_set_all(tree: exp.Query) -> exp.Query:
    """Rewrites every such operation of ``tree``, which is qualified: the n-th of equal rows meets the n-th."""
    names = itertools.count(1)
    for query in list(tree.find_all(exp.Except, exp.Intersect)):
        if query.args.get("distinct") or query.args.get("by_name"):
            continue
        columns = query.named_selects
        sides = [_numbered(side, columns, f"_side_{next(names)}") for side in (query.this, query.expression)]
        plain = type(query)(this=sides[0], expression=sides[1], distinct=True)
        alias = f"_all_{next(names)}"
        outer = exp.select(*_shown(columns, alias)).from_(_source(plain, alias))
        for part in ("with_", "order", "limit", "offset"):
            outer.set(part, query.args.get(part))
        if query is tree:
            tree = outer
        else:
            query.replace(outer)
    return tree


def _numbered(side: exp.Query, columns: list[str], alias: str) -> exp.Select:
    given = [exp.column(name, table=alias, quoted=True) for name in side.named_selects]
    number = exp.Window(this=exp.RowNumber(), partition_by=[c.copy() for c in given], over="OVER")
    values = [exp.alias_(c, name, quoted=True) for c, name in zip(given, columns, strict=True)]
    return exp.select(*values, exp.alias_(number, _NUMBER, quoted=True)).from_(_source(side, alias))


def _source(query: exp.Query, alias: str) -> exp.Subquery:
    inner = query.unnest() if isinstance(query, exp.Subquery) else query
    return exp.Subquery(this=inner.copy(), alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))


def _shown(columns: list[str], alias: str) -> Iterator[exp.Expr]:
    for name in columns:
        yield exp.alias_(exp.column(name, table=alias, quoted=True), name, quoted=True)
