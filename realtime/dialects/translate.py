"""Authored SQL to DuckDB's, with the meaning it has in the warehouse it was written for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from sqlglot import exp
from sqlglot.errors import ParseError

from realtime.dialects import shared
from realtime.dialects.bigquery import BIGQUERY
from realtime.dialects.dialect import Dialect, Translation, duckdb_type
from realtime.dialects.names import check_names
from realtime.dialects.postgres import POSTGRES
from realtime.dialects.snowflake import SNOWFLAKE
from realtime.dialects.spark import SPARK
from realtime.errors import RefusedError, SourceError
from realtime.project.binder import Binder
from realtime.project.manifest import Source
from realtime.transpile.passes.refuse_unknown import refuse_unknown
from realtime.transpile.passes.semi_to_exists import semi_to_exists
from realtime.transpile.passes.unique_aliases import unique_aliases
from realtime.transpile.transpile import parse, qualified

DIALECTS: Mapping[str, Dialect] = {
    "bigquery": BIGQUERY,
    "postgres": POSTGRES,
    "snowflake": SNOWFLAKE,
    "spark": SPARK,
}
"""By dbt's adapter. DuckDB is not among them: it is what the others become."""


def to_duckdb(sql: str, adapter: str, binder: Binder) -> exp.Query:
    """The query ``sql``, written for dbt's ``adapter``, in DuckDB's dialect with the same answer.

    ``binder`` knows what it reads, in DuckDB's types. The tree keeps the lines of ``sql``. RefusedError where a
    construct is not known to mean the same.
    """
    if adapter == "duckdb":
        return parse(sql)
    dialect = DIALECTS[adapter]
    tree = parse(sql, dialect.sqlglot)
    for rewrite in _BEFORE:
        tree = rewrite(tree)
    check_names(tree, dialect, binder)
    written = [p.alias_or_name for p in tree.selects] if dialect.keeps_case else []
    tree = unique_aliases(qualified(tree, binder))
    tree = Translation(dialect, shared.RULES, shared.FUNCTIONS, binder).whole(tree)
    for node in tree.walk():
        node.meta.pop("duck", None)
    return _called(tree, written)


def _called(tree: exp.Query, written: list[str]) -> exp.Query:
    """``tree`` with its columns called as ``written``, in place; a star is not written, and resolving folds case."""
    if "*" not in written:
        for projection, name in zip(tree.selects, written, strict=False):
            if isinstance(projection, exp.Alias) and projection.alias == name.lower():
                projection.set("alias", exp.to_identifier(name, quoted=True))
    return tree


def to_duckdb_type(declared: str, adapter: str) -> str:
    """DuckDB's type with the same values as ``declared`` has in the dialect of dbt's ``adapter``.

    RefusedError where there is none.
    """
    if adapter == "duckdb":
        return declared
    dialect = DIALECTS[adapter]
    try:
        authored = exp.DataType.build(declared, dialect=dialect.sqlglot)
    except ParseError:
        raise RefusedError(
            f"{dialect.name} has no type {declared}", construct=declared, remedy=f"use a type of {dialect.name}"
        ) from None
    return duckdb_type(dialect, authored)


def source_in_duckdb(source: Source, adapter: str) -> Source:
    """``source`` with the types of its columns in DuckDB's words; SourceError where one has no equal."""
    columns = {}
    for name, declared in source.columns.items():
        try:
            columns[name] = declared and to_duckdb_type(declared, adapter)
        except RefusedError as error:
            where = f"source {source.name} ({source.path}): column {name}: {error.construct}"
            raise SourceError(f"{where}: {error.message}", remedy=error.remedy) from None
    return dataclasses.replace(source, columns=columns)


def _parameters(tree: exp.Query) -> exp.Query:
    """Parameters as DuckDB's ``$name``, in place: each dialect of sqlglot has another node for them."""
    for node in list(tree.find_all(exp.Parameter, exp.Column)):
        if isinstance(node, exp.Parameter) or node.name.startswith("$"):
            node.replace(exp.Placeholder(this=node.name.removeprefix("$")))
    return tree


_BEFORE: tuple[Callable[[exp.Query], exp.Query], ...] = (_parameters, refuse_unknown, semi_to_exists)
