"""One DuckDB query to one ClickHouse query with the same answer, or a refusal."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.qualify import qualify

from realtime.errors import RefusedError
from realtime.planner.ir import Column
from realtime.project.binder import CATALOG, DUCKDB, SCHEMA, Binder
from realtime.transpile.annotate import annotate, without_params
from realtime.transpile.lower import Lower
from realtime.transpile.parts import UNRESOLVED, with_others
from realtime.transpile.passes.arrows_to_json import arrows_to_json
from realtime.transpile.passes.drop_constant_keys import drop_constant_keys
from realtime.transpile.passes.expand_between import expand_between
from realtime.transpile.passes.expand_by_name import expand_by_name
from realtime.transpile.passes.expand_case import expand_case
from realtime.transpile.passes.expand_columns import expand_columns
from realtime.transpile.passes.expand_distinct_on import expand_distinct_on
from realtime.transpile.passes.expand_group_all import expand_group_all
from realtime.transpile.passes.expand_grouping_sets import expand_grouping_sets
from realtime.transpile.passes.expand_in import expand_in
from realtime.transpile.passes.expand_order_all import expand_order_all
from realtime.transpile.passes.expand_pivots import check_pivots, expand_pivots
from realtime.transpile.passes.expand_quantified import expand_quantified
from realtime.transpile.passes.expand_set_all import expand_set_all
from realtime.transpile.passes.expand_values import expand_values
from realtime.transpile.passes.join_correlated import join_correlated
from realtime.transpile.passes.lambda_columns import lambda_columns
from realtime.transpile.passes.mark_laterals import mark_laterals
from realtime.transpile.passes.merge_using import mark_using, merge_using
from realtime.transpile.passes.one_name import one_name
from realtime.transpile.passes.order_by_columns import order_by_columns
from realtime.transpile.passes.order_sorted_lists import order_sorted_lists
from realtime.transpile.passes.refuse_unknown import refuse_unknown
from realtime.transpile.passes.semi_to_exists import semi_to_exists
from realtime.transpile.passes.true_names import true_names
from realtime.transpile.passes.unique_aliases import unique_aliases
from realtime.transpile.passes.unnest_tables import unnest_tables
from realtime.transpile.query import lower_query
from realtime.transpile.rules import FUNCTIONS, RULES
from realtime.transpile.rules.casts import convert
from realtime.transpile.rules.left_out import LEFT_OUT
from realtime.transpile.scopes import outputs
from realtime.transpile.trace import Trace
from realtime.transpile.types import DuckType

Pass = Callable[[exp.Query], exp.Query]

BEFORE_QUALIFY: tuple[Pass, ...] = (
    unnest_tables,
    mark_laterals,
    refuse_unknown,
    one_name,
    expand_values,
    semi_to_exists,
    expand_quantified,
)
AFTER_QUALIFY: tuple[Pass, ...] = (
    merge_using,
    unique_aliases,
    expand_in,
    join_correlated,
    lambda_columns,
    order_sorted_lists,
    expand_group_all,
    drop_constant_keys,
    expand_order_all,
    expand_grouping_sets,
    expand_by_name,
    expand_set_all,
    expand_distinct_on,
    expand_case,
    expand_between,
    unique_aliases,
)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A ClickHouse query and its columns. Tables still have DuckDB's names; aggregate calls that a state
    can keep carry ``meta["component"]``."""

    tree: exp.Query
    columns: tuple[Column, ...]


def transpile(query: str | exp.Query, binder: Binder, text: str = "", trace: Trace | None = None) -> Compiled:
    """Compiles ``query`` (DuckDB's dialect) against the tables of ``binder``; RefusedError where it is not exact, with
    what else in it is not.

    ``text`` is the same query as its author wrote it, where ``query`` is a tree made of it; ``trace`` takes what
    each pass makes of it.
    """
    tree, text = (parse(query), query) if isinstance(query, str) else (query, text)
    try:
        return _compiled(tree.copy(), binder, text, trace)
    except RefusedError as error:
        raise with_others(error, tree, binder, lambda rest: _compiled(rest, binder)) from None


def _compiled(tree: exp.Query, binder: Binder, text: str = "", trace: Trace | None = None) -> Compiled:
    check_pivots(tree)
    parametric = tree.find(exp.Parameter, exp.Placeholder) is not None
    # The author's own text, where there is one, for DuckDB's errors name its lines.
    given = "" if parametric else text
    wanted = binder.describe(given or without_params(tree).sql("duckdb"))
    tree = annotate(resolved(tree, binder, trace), binder)
    found = outputs(tree) or binder.describe(without_params(tree).sql("duckdb"))
    if [t for _, t in found] != [t for _, t in wanted]:
        raise RefusedError("the query changes its types when its names are resolved", remedy="qualify every column")
    lower = Lower(
        binder, RULES, FUNCTIONS, convert, lower_query, lambda table: typed_view(table, binder), left_out=LEFT_OUT
    )
    lowered = lower_query(lower, tree)
    columns = []
    for name, kind in wanted:
        with lower.noting():
            columns.append(_column(name, kind))
    lower.check()
    return Compiled(_named(lowered, columns), tuple(columns))


def resolved(tree: exp.Query, binder: Binder, trace: Trace | None = None) -> exp.Query:
    """``tree``, in place, in DuckDB's dialect still, with every name qualified and short forms written out."""

    def pivot_columns(tree: exp.Query) -> exp.Query:
        return expand_pivots(tree, binder)

    def named_columns(tree: exp.Query) -> exp.Query:
        return expand_columns(tree, binder)

    def qualify_names(tree: exp.Query) -> exp.Query:
        return qualified(tree, binder)

    def spell_names(tree: exp.Query) -> exp.Query:
        return true_names(tree, binder.columns, binder.relations)

    def order_columns(tree: exp.Query) -> exp.Query:
        return order_by_columns(tree, binder)

    before: tuple[Pass, ...] = (pivot_columns, named_columns, *BEFORE_QUALIFY)
    for rewrite in (*before, qualify_names, order_columns, *AFTER_QUALIFY, spell_names):
        tree = rewrite(tree)
        if trace is not None:
            trace.authored(rewrite.__name__, tree)
    return tree


def typed_view(table: exp.Table, binder: Binder) -> exp.Query | None:
    """The query of the model that ``table`` is, its names resolved and its expressions typed; None of other tables."""
    key = (table.catalog.lower(), table.db.lower(), table.name.lower())
    if key in binder.views and key not in binder.typed_views:
        tree = resolved(parse(binder.views[key]), binder)
        annotate(tree, binder)
        binder.typed_views[key] = tree
    return binder.typed_views.get(key)


def _column(name: str, found: DuckType) -> Column:
    try:
        return Column(name, found.name, found.clickhouse)
    except RefusedError as error:
        error.construct = f"column {name}"
        raise


def parse(sql: str, dialect: str = "duckdb") -> exp.Query:
    """The one query in ``sql``; RefusedError with the place where it can't be parsed."""
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
        if not trees:
            raise RefusedError("there is no SQL in it", remedy="write one SELECT, or delete the file")
        if len(trees) > 1:
            raise RefusedError(f"there are {len(trees)} statements in it", remedy="keep one SELECT")
        tree = trees[0]
    except (sqlglot.ParseError, sqlglot.TokenError) as error:
        first = error.errors[0] if isinstance(error, sqlglot.ParseError) and error.errors else {}
        what = re.sub(r" but got <Token.*", "", first.get("description") or str(error).splitlines()[0])
        raise RefusedError(
            f"this SQL can't be parsed: {what}",
            line=first.get("line") or 0,
            # sqlglot's ``col`` is where the token ends.
            column=max((first.get("col") or 0) - len(first.get("highlight") or "") + 1, 0),
            remedy=f"check the statement in {'DuckDB' if dialect == 'duckdb' else 'the warehouse'}",
        ) from None
    if isinstance(tree, exp.Pivot):
        tree = exp.select("*").from_(exp.Subquery(this=tree))
    if isinstance(tree, exp.Values):
        tree = exp.select("*").from_(tree)
    if not isinstance(tree, exp.Query):
        raise RefusedError(f"only a SELECT can be compiled; this is {tree.key}", remedy="write it as one SELECT")
    return arrows_to_json(tree) if dialect == "duckdb" else tree


def qualified(tree: exp.Query, binder: Binder) -> exp.Query:
    """``tree`` with every name resolved, in place; RefusedError where one can't be."""
    try:
        found = qualify(
            mark_using(tree),
            schema=binder.schema,
            dialect=DUCKDB,
            catalog=CATALOG,
            db=SCHEMA,
            validate_qualify_columns=True,
        )
    except OptimizeError as error:
        raise RefusedError(f"{UNRESOLVED}: {error}", remedy="qualify the columns with their table") from None
    assert isinstance(found, exp.Query)
    return found


def _named(query: exp.Query, columns: Sequence[Column]) -> exp.Query:
    """``query`` with DuckDB's own spelling of the column names."""
    names = [c.name for c in columns]
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise RefusedError(f"two columns are called {', '.join(twice)}", remedy="give each column a name of its own")
    if not isinstance(query, exp.Select) or len(query.expressions) != len(names):
        return query
    renamed = {}
    for projection, name in zip(query.expressions, names, strict=True):
        if isinstance(projection, exp.Alias) and projection.alias != name:
            renamed[projection.alias] = name
            projection.set("alias", exp.to_identifier(name, quoted=True))
    order = query.args.get("order")
    for item in order.expressions if order is not None else []:
        for key in [c for c in item.find_all(exp.Column) if not c.table and c.name in renamed]:
            key.set("this", exp.to_identifier(renamed[key.name], quoted=True))
    return query
