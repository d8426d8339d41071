"""Tables of a compiled statement get the name of their ClickHouse database: DuckDB's schemas become databases."""

from __future__ import annotations

from sqlglot import exp

from realtime.project.binder import SCHEMA
from realtime.transpile.form import quote


def to_databases(tree: exp.Query, main: str = "") -> exp.Query:
    """Renames the tables of ``tree`` in place: ``memory.main.t`` to ``t`` (of ``main``, where given), and
    ``memory.s.t`` to ``s.t``. CTEs carry no schema and stay."""
    for table in tree.find_all(exp.Table):
        if table.db:
            database = main if table.db == SCHEMA else table.db
            table.set("db", quote(database) if database else None)
            table.set("catalog", None)
    return tree
