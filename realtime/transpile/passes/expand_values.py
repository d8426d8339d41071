"""``(VALUES (1), (2.5)) AS t(x)`` to selects under UNION ALL: ClickHouse takes its types from the first row."""

from __future__ import annotations

from sqlglot import exp


def expand_values(tree: exp.Query) -> exp.Query:
    """Rewrites every VALUES in FROM of ``tree`` in place; columns without a name are ``col0``, ``col1`` …"""
    for values in list(tree.find_all(exp.Values)):
        if not isinstance(values.parent, (exp.From, exp.Join, exp.Subquery)):
            continue
        alias = values.args.get("alias")
        given = [c.name for c in alias.args.get("columns") or []] if alias is not None else []
        rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in values.expressions]
        names = [*given, *(f"col{i}" for i in range(len(given), len(rows[0])))]
        selects = [exp.Select(expressions=[_named(x, n) for x, n in zip(r, names, strict=True)]) for r in rows]
        query: exp.Query = selects[0]
        for select in selects[1:]:
            query = exp.Union(this=query, expression=select, distinct=False)
        name = alias.this.copy() if alias is not None and alias.this is not None else exp.to_identifier("_values")
        values.replace(exp.Subquery(this=query, alias=exp.TableAlias(this=name)))
    return tree


def _named(value: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(value.copy(), name, quoted=True)
