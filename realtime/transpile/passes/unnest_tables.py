"""``generate_series(…)``, ``range(…)`` and ``unnest(list)`` in FROM to ``(SELECT unnest(…) AS x)``, or to CROSS JOIN
UNNEST where they read columns of the tables before them."""

from __future__ import annotations

from sqlglot import exp


def unnest_tables(tree: exp.Query) -> exp.Query:
    """Rewrites every such table of ``tree``, whose names are as authored, in place."""
    for source in list(tree.find_all(exp.Table, exp.Unnest, exp.Lateral)):
        items = _list(source)
        if items is None or not isinstance(source.parent, (exp.From, exp.Join)):
            continue
        name, column = _names(source, items)
        offset = _offset(source)
        if isinstance(source.parent, exp.Join) and (offset is not None or items.find(exp.Column) is not None):
            alias = exp.TableAlias(this=exp.to_identifier(name), columns=[exp.to_identifier(column)])
            source.replace(exp.Unnest(expressions=[items.copy()], alias=alias, offset=offset))
        elif offset is None:
            query = exp.Select(expressions=[exp.alias_(exp.Explode(this=items.copy()), column)])
            alias = exp.TableAlias(this=exp.to_identifier(name))
            source.replace(exp.Subquery(this=query, alias=alias))
    return tree


def _list(source: exp.Expr) -> exp.Expr | None:
    """What ``source`` gives the elements of; None for any other table."""
    inner = source.this if isinstance(source, (exp.Table, exp.Lateral)) else source
    if isinstance(inner, exp.GenerateSeries):
        return inner
    if isinstance(inner, exp.Unnest) and len(inner.expressions) == 1:
        found: exp.Expr = inner.expressions[0]
        return found
    return None


def _names(source: exp.Expr, items: exp.Expr) -> tuple[str, str]:
    """What the table and its column are called: a name for the table alone is the column's, too."""
    is_series = isinstance(items, exp.GenerateSeries) and not isinstance(source, exp.Unnest)
    default = ("range" if items.args.get("is_end_exclusive") else "generate_series") if is_series else "unnest"
    columns = source.args["alias"].args.get("columns") if source.args.get("alias") is not None else None
    name = source.alias or default
    if columns:
        return name, columns[0].name
    return name, default if _offset(source) is not None else name


def _offset(source: exp.Expr) -> exp.Identifier | None:
    """What the number of each element is called; None where none is asked for."""
    inner = source.this if isinstance(source, exp.Lateral) else source
    given = inner.args.get("offset") or (inner.args.get("ordinality") and True)
    if not given:
        return None
    return given.copy() if isinstance(given, exp.Identifier) else exp.to_identifier("ordinality")
