"""Tables and their columns get the spelling of their declaration: ClickHouse minds case, DuckDB does not."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

Key = tuple[str, str, str]


def true_names(
    tree: exp.Query, columns: Mapping[Key, Mapping[str, str]], relations: Mapping[Key, exp.Table]
) -> exp.Query:
    """Respells base tables and their columns in place; ``columns`` and ``relations`` are those of a `Binder`."""
    for scope in traverse_scope(tree):
        for alias, source in scope.sources.items():
            if not isinstance(source, exp.Table):
                continue
            key = (source.catalog.lower(), source.db.lower(), source.name.lower())
            spelling = {name.lower(): name for name in columns.get(key, ())}
            for column in scope.columns:
                if column.table == alias and column.name in spelling:
                    # In place, for the identifier knows its place in the text.
                    column.this.set("this", spelling[column.name])
            if key in relations:
                _respell(source, relations[key])
    return tree


def _respell(table: exp.Table, declared: exp.Table) -> None:
    for part in ("this", "db", "catalog"):
        table.set(part, declared.args[part].copy())
