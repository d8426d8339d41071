"""Names in ORDER BY expressions: DuckDB takes a column first, and the select list's alias only where there is none.

A name that stands alone is the alias. sqlglot's qualify takes the alias in both places.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from realtime.project.binder import Binder
from realtime.transpile.lower import refused


def order_by_columns(tree: exp.Query, binder: Binder) -> exp.Query:
    """Qualifies the columns in ORDER BY expressions of ``tree`` in place; ``tree`` is qualified otherwise.

    RefusedError where two tables have the column.
    """
    for scope in traverse_scope(tree):
        order = scope.expression.args.get("order") if isinstance(scope.expression, exp.Select) else None
        for item in order.expressions if order is not None else ():
            if not isinstance(item.this.unnest(), exp.Column):
                for column in _unqualified(item.this):
                    _qualify(column, scope, binder)
    return tree


def _unqualified(key: exp.Expr) -> Iterator[exp.Column]:
    """Columns of ``key`` without a table; neither those of nested queries nor a lambda's own names."""
    for node in key.walk(prune=lambda n: isinstance(n, (exp.Query, exp.Lambda))):
        if isinstance(node, exp.Column) and not node.table:
            yield node


def _qualify(column: exp.Column, scope: Scope, binder: Binder) -> None:
    found = [alias for alias, (_, source) in scope.selected_sources.items() if column.name in _names(source, binder)]
    if len(found) > 1:
        raise refused(column, f"{column.name} is a column of {' and of '.join(found)}", remedy="name its table")
    if found:
        column.set("table", exp.to_identifier(found[0], quoted=True))
        return
    for projection in scope.expression.expressions:
        if projection.alias_or_name == column.name:
            column.replace(exp.paren(projection.unalias().copy(), copy=False))
            return


def _names(source: exp.Table | Scope, binder: Binder) -> frozenset[str]:
    """The columns of a relation or subquery, as qualify writes them."""
    if isinstance(source, Scope):
        assert isinstance(source.expression, exp.Query)
        return frozenset(source.expression.named_selects)
    key = (source.catalog.lower(), source.db.lower(), source.name.lower())
    return frozenset(name.lower() for name in binder.columns.get(key, ()))
