"""``UNION BY NAME`` to a UNION of the same columns in the same order, NULL where a side has no such column."""

from __future__ import annotations

import itertools

from sqlglot import exp


def expand_by_name(tree: exp.Query) -> exp.Query:
    """Rewrites every such operation of ``tree``, which is qualified, in place, the inner ones first."""
    numbers = itertools.count(1)
    for query in reversed(list(tree.find_all(exp.Union))):
        if not query.args.get("by_name"):
            continue
        sides = (query.this, query.expression)
        columns = list(dict.fromkeys(name for side in sides for name in side.named_selects))
        query.set("this", _ordered(sides[0], columns, f"_by_name_{next(numbers)}"))
        query.set("expression", _ordered(sides[1], columns, f"_by_name_{next(numbers)}"))
        query.set("by_name", None)
    return tree


def _ordered(side: exp.Query, columns: list[str], alias: str) -> exp.Select:
    known = set(side.named_selects)
    values = [exp.column(c, table=alias, quoted=True) if c in known else exp.null() for c in columns]
    inner = side.unnest() if isinstance(side, exp.Subquery) else side
    source = exp.Subquery(this=inner.copy(), alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    return exp.select(*(exp.alias_(v, c, quoted=True) for v, c in zip(values, columns, strict=True))).from_(source)
