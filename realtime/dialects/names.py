"""Names that one engine takes for a column and another for an alias of the select list."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.qualify import qualify

from realtime.dialects.dialect import Dialect
from realtime.errors import RefusedError
from realtime.project.binder import CATALOG, SCHEMA, Binder
from realtime.transpile.lower import place

_BARE = "bare"


def check_names(tree: exp.Query, dialect: Dialect, binder: Binder) -> None:
    """RefusedError where HAVING, QUALIFY or, for some dialects, GROUP BY names what is both.

    In WHERE, and elsewhere in GROUP BY, a column wins in all of them.
    """
    for column in tree.find_all(exp.Column):
        column.meta[_BARE] = not column.table
    clauses = ("having", "qualify", "group") if dialect.group_prefers_alias else ("having", "qualify")
    try:
        copy = qualify(
            tree.copy(), schema=binder.schema, dialect="duckdb", catalog=CATALOG, db=SCHEMA,
            expand_alias_refs=False, validate_qualify_columns=False, expand_stars=False,
        )  # fmt: skip
    except OptimizeError:
        return  # said by the qualifying that counts
    for select in copy.find_all(exp.Select):
        renamed = {p.alias for p in select.expressions if isinstance(p, exp.Alias) and not _same(p)}
        for clause in clauses:
            found = select.args.get(clause)
            if found is not None:
                _check(found, renamed)


def _same(projection: exp.Alias) -> bool:
    """Whether it only repeats a column under the column's own name."""
    return isinstance(projection.this, exp.Column) and projection.this.name == projection.alias


def _check(clause: exp.Expr, renamed: set[str]) -> None:
    for node in clause.walk(prune=lambda n: isinstance(n, exp.Query)):
        if isinstance(node, exp.Column) and node.meta.get(_BARE) and node.table and node.name in renamed:
            line, column = place(node)
            raise RefusedError(
                "it is the name of a column and of something in the select list",
                construct=node.name,
                remedy=f"write {node.table}.{node.name}, or call the other one otherwise",
                line=line,
                column=column,
            )
