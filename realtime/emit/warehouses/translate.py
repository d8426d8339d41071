"""One DuckDB query to one query of another warehouse with the same answer, or a refusal."""

from __future__ import annotations

import collections
import dataclasses
import functools

from sqlglot import exp

from realtime.emit.warehouses.postgres import POSTGRES
from realtime.emit.warehouses.query import write_query
from realtime.emit.warehouses.snowflake import SNOWFLAKE
from realtime.emit.warehouses.warehouse import Warehouse, Writer
from realtime.errors import RefusedError
from realtime.project.binder import Binder
from realtime.transpile.annotate import annotate
from realtime.transpile.form import quote
from realtime.transpile.parts import with_others
from realtime.transpile.passes.expand_columns import expand_columns
from realtime.transpile.passes.expand_pivots import check_pivots, expand_pivots
from realtime.transpile.passes.true_names import true_names
from realtime.transpile.transpile import AFTER_QUALIFY, BEFORE_QUALIFY, parse, qualified
from realtime.transpile.types import DuckType

WAREHOUSES: dict[str, Warehouse] = {w.name: w for w in (POSTGRES, SNOWFLAKE)}


@dataclasses.dataclass(frozen=True)
class Translated:
    """A query of the warehouse, its tables still by DuckDB's names, and its columns with DuckDB's types."""

    tree: exp.Query
    columns: tuple[tuple[str, DuckType], ...]


def translate(sql: str, binder: Binder, warehouse: Warehouse) -> Translated:
    """Translates ``sql`` (DuckDB's dialect) against the tables of ``binder``; RefusedError where it is not exact, with
    what else in it is not."""
    tree = parse(sql)
    try:
        return _translated(tree.copy(), sql, binder, warehouse)
    except RefusedError as error:
        others = functools.partial(_translated, text="", binder=binder, warehouse=warehouse)
        raise with_others(error, tree, binder, others) from None


def _translated(tree: exp.Query, text: str, binder: Binder, warehouse: Warehouse) -> Translated:
    check_pivots(tree)
    for node in tree.find_all(exp.Parameter, exp.Placeholder):
        raise RefusedError(f"parameter {node.sql()}", remedy="a model has no parameters")
    wanted = binder.describe(text or tree.sql("duckdb"))
    tree = expand_columns(expand_pivots(tree, binder), binder)
    for rewrite in BEFORE_QUALIFY:
        tree = rewrite(tree)
    tree = qualified(tree, binder)
    for rewrite in AFTER_QUALIFY:
        tree = rewrite(tree)
    tree = true_names(tree, binder.columns, binder.relations)
    if [t for _, t in binder.describe(tree.sql("duckdb"))] != [t for _, t in wanted]:
        raise RefusedError("the query changes its types when its names are resolved", remedy="qualify every column")
    annotate(tree, binder)
    writer = Writer(
        binder, warehouse.rules, warehouse.functions, functools.partial(_no_try, warehouse), write_query,
        warehouse=warehouse,
    )  # fmt: skip
    written = write_query(writer, tree)
    writer.check()
    for (name, _), projection in zip(wanted, written.selects, strict=True):
        # DuckDB's own spelling of the names.
        projection.replace(exp.alias_(projection.unalias(), quote(name)))
    return Translated(tidy(written, warehouse), wanted)


def _no_try(warehouse: Warehouse, node: exp.Expr, written: exp.Expr, target: DuckType, try_: bool) -> exp.Expr:
    raise RefusedError(f"no cast to {target} in {warehouse.title}", remedy="cast it explicitly")


def tidy(tree: exp.Query, warehouse: Warehouse) -> exp.Query:
    """``tree`` so that sqlglot prints what its tables say, in place: divisions as they are, no idle parentheses."""
    for division in tree.find_all(exp.Div):
        division.set("typed", warehouse.dialect.TYPED_DIVISION)
        division.set("safe", warehouse.dialect.SAFE_DIVISION)
    for paren in list(tree.find_all(exp.Paren)):
        if isinstance(paren.this, _SELF_CONTAINED) and not isinstance(paren.parent, exp.Bracket):
            paren.replace(paren.this)
    _plain_names(tree)
    return tree


def _plain_names(tree: exp.Query) -> None:
    """What resolving the names added is taken away where nothing needs it: the numbers of aliases, and aliases that
    are the name itself."""
    tables = list(tree.find_all(exp.Table))
    aliases = [t.alias for t in tree.find_all(exp.Table, exp.Subquery) if t.alias]
    readers = collections.Counter(t.name for t in tables)
    renamed = {
        t.alias: t.name
        for t in tables
        if not t.db and t.alias.rpartition("_")[0] == t.name and readers[t.name] == 1 and t.name not in aliases
    }
    for column in tree.find_all(exp.Column):
        if column.table in renamed:
            column.set("table", quote(renamed[column.table]))
    for table in tables:
        if renamed.get(table.alias) == table.name or (not table.db and table.alias == table.name):
            table.set("alias", None)
    for alias in list(tree.find_all(exp.Alias)):
        if (
            isinstance(alias.this, exp.Column)
            and alias.this.name == alias.alias
            and isinstance(alias.parent, exp.Select)
        ):
            alias.replace(alias.this)


_SELF_CONTAINED = (exp.Cast, exp.Anonymous, exp.Column, exp.Interval, exp.Case, exp.Paren)


def readable(tree: exp.Expr, warehouse: Warehouse) -> str:
    """The SQL text of ``tree``: indented, names quoted where the warehouse needs it."""
    copy = tree.copy()
    for name in copy.find_all(exp.Identifier):
        if name.args.get("quoted") and not warehouse.quotes(name.name):
            name.set("quoted", False)
    return copy.sql(warehouse.dialect, normalize_functions=False, comments=False, pretty=True)
