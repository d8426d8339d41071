"""A subquery in FROM that names a table before it is LATERAL, whether it says so or not."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.correlated import own_tables


def mark_laterals(tree: exp.Query) -> exp.Query:
    """Rewrites every such subquery of ``tree``, whose names are as authored, in place."""
    for select in list(tree.find_all(exp.Select)):
        origin = select.args.get("from_")
        before = {origin.this.alias_or_name.lower()} if origin is not None else set()
        for join in select.args.get("joins") or []:
            source = join.this
            if isinstance(source, exp.Subquery) and source.alias and _names(source, before):
                lateral = exp.Lateral(this=exp.Subquery(this=source.this.copy()), alias=source.args["alias"].copy())
                source.replace(lateral)
            before.add(join.alias_or_name.lower())
    return tree


def _names(source: exp.Subquery, before: set[str]) -> bool:
    own = {name.lower() for name in own_tables(source.this)}
    return any(c.table.lower() in before - own for c in source.this.find_all(exp.Column) if c.table)
