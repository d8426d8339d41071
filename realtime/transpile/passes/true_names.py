"""Columns of tables get the spelling that the table gives them: ClickHouse minds case, DuckDB does not."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope


def true_names(tree: exp.Query, columns: Mapping[tuple[str, str, str], Mapping[str, str]]) -> exp.Query:
    """Respells the columns of base tables in place; ``columns`` is `Binder.columns`."""
    for scope in traverse_scope(tree):
        for alias, source in scope.sources.items():
            if not isinstance(source, exp.Table):
                continue
            key = (source.catalog.lower(), source.db.lower(), source.name.lower())
            spelling = {name.lower(): name for name in columns.get(key, ())}
            for column in scope.columns:
                if column.table == alias and column.name in spelling:
                    column.set("this", exp.to_identifier(spelling[column.name], quoted=True))
    return tree
