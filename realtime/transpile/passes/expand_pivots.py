"""PIVOT with its values written out to aggregates with FILTER, UNPIVOT to ``unnest`` of the columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from sqlglot import exp

from realtime.project.binder import Binder
from realtime.transpile.annotate import is_aggregate, without_params
from realtime.transpile.lower import refused
from realtime.transpile.scopes import is_recursive, visible_ctes
from realtime.transpile.types import DuckType, Kind

_WRAPPERS = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)


def expand_pivots(tree: exp.Query, binder: Binder) -> exp.Query:
    """Rewrites every PIVOT and UNPIVOT of ``tree``, whose names are as authored, in place, the inner ones first.

    RefusedError where the values of a PIVOT are not written out.
    """
    for node in reversed(list(tree.find_all(exp.Pivot))):
        if isinstance(node.parent, (exp.Table, exp.Subquery)) and node.this is None:
            _of_table(node, binder)
        else:
            _of_statement(node, binder)
    return tree


def check_pivots(tree: exp.Query) -> None:
    """RefusedError where ``tree`` has a PIVOT whose values are not written out: DuckDB would look for them."""
    for node in tree.find_all(exp.Pivot):
        for field in [] if node.args.get("unpivot") else _fields(node):
            if not isinstance(field, exp.In) or not field.expressions or isinstance(field.this, exp.Tuple):
                raise refused(field, "PIVOT by values that are not written out", remedy="list them: x IN ('a', 'b')")


def _fields(node: exp.Pivot) -> list[exp.In]:
    """By what ``node`` pivots."""
    return list(node.args.get("fields") or node.expressions)


def _of_table(node: exp.Pivot, binder: Binder) -> None:
    """``t PIVOT (…) AS p``; of several, each is over what the one before gives."""
    source = node.parent
    assert source is not None
    if source.args["pivots"][0] is not node or len(source.args["pivots"]) > 1:
        raise refused(node, "a PIVOT of a PIVOT", remedy="write the first one in a CTE")
    plain = source.copy()
    plain.set("pivots", None)
    query = _expanded(node, plain, source, binder)
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier("_pivot"))
    source.replace(exp.Subquery(this=query, alias=alias.copy()))


def _of_statement(node: exp.Pivot, binder: Binder) -> None:
    """``PIVOT t ON … USING …``, as a CTE or in parentheses in FROM."""
    query = _expanded(node, node.this.copy(), None, binder)
    if node.args.get("with_") is not None:
        query.set("with_", node.args["with_"].copy())
    holder = node.parent
    node.replace(query)
    if isinstance(holder, exp.Subquery) and not holder.alias:
        holder.set("alias", exp.TableAlias(this=exp.to_identifier("_pivot")))


def _expanded(node: exp.Pivot, source: exp.Expr, table: exp.Expr | None, binder: Binder) -> exp.Select:
    columns = [n for n, _ in binder.describe(_over(source, [exp.Star()], node))]
    if node.args.get("unpivot"):
        return _unpivoted(node, source, columns, binder)
    whole = table.copy() if table is not None else exp.Subquery(this=node.copy())
    if table is None:
        whole.this.set("with_", None)
    return _pivoted(node, source, columns, [n for n, _ in binder.describe(_over(whole, [exp.Star()], node))], binder)


def _over(source: exp.Expr, projections: Sequence[exp.Expr], node: exp.Expr) -> str:
    """A query of ``source`` that DuckDB can describe, with the CTEs that ``node`` sees."""
    question = exp.Select(expressions=[p.copy() for p in projections])
    question.set("from_", exp.From(this=source.copy()))
    own = node.args.get("with_")
    ctes = [*visible_ctes(node), *(own.expressions if own is not None else [])]
    if ctes:
        recursive = any(is_recursive(c) for c in ctes)
        question.set("with_", exp.With(expressions=[c.copy() for c in ctes], recursive=recursive))
    return without_params(question).sql("duckdb")


def _pivoted(node: exp.Pivot, source: exp.Expr, columns: list[str], names: list[str], binder: Binder) -> exp.Select:
    """One aggregate for every combination of values; ``names`` are those that DuckDB gives the columns."""
    fields = _fields(node)
    given = node.args.get("using") or (node.expressions if node.args.get("fields") else [])
    aggregates = [a.unalias() for a in given or [exp.Count(this=exp.Star(), big_int=True)]]
    keys = _keys(node, columns, [*(f.this for f in fields), *aggregates])
    tests = [list(_tests(field, source, node, binder)) for field in fields]
    values = [
        _filtered(aggregate, exp.and_(*(c.copy() for c in chosen)))
        for chosen in itertools.product(*tests)
        for aggregate in aggregates
    ]
    query = exp.Select(
        expressions=[exp.alias_(value, name, quoted=True) for value, name in zip([*keys, *values], names, strict=True)]
    )
    if keys:
        query.set("group", exp.Group(expressions=[k.copy() for k in keys]))
    return query.from_(source)


def _keys(node: exp.Pivot, columns: list[str], used: list[exp.Expr]) -> list[exp.Expr]:
    """What the rows are grouped by: the columns that neither the values nor the aggregates name."""
    group = node.args.get("group")
    if group is not None:
        return [k.copy() for k in group.expressions]
    named = {c.name.lower() for part in used for c in part.find_all(exp.Column)}
    return [exp.column(c, quoted=True) for c in columns if c.lower() not in named]


def _tests(field: exp.In, source: exp.Expr, node: exp.Pivot, binder: Binder) -> Iterator[exp.Expr]:
    """What a row must fulfil to count for each value: DuckDB compares both sides as text."""
    ((_, found),) = binder.describe(_over(source, [field.this], node))
    for item in field.expressions:
        value = item.this if isinstance(item, exp.PivotAlias) else item
        if isinstance(value, exp.Column) and not value.table:
            value = exp.Literal.string(value.name)
        if value.find(exp.Column, exp.Query, exp.Parameter, exp.Placeholder) is not None:
            raise refused(item, "a value of PIVOT that is no constant", remedy="write it as a literal")
        yield _equal(field.this, found, binder.constant(exp.cast(value.copy(), "varchar", dialect="duckdb")))


def _equal(key: exp.Expr, found: DuckType, value: str | None) -> exp.Expr:
    wrapped = key.copy() if isinstance(key, (exp.Column, exp.Func)) else exp.paren(key.copy())
    if value is None:
        return exp.Is(this=wrapped, expression=exp.Null())
    if found.kind is Kind.INTEGER and value.lstrip("-").isdigit() and str(int(value)) == value:
        return exp.EQ(this=wrapped, expression=exp.Literal.number(int(value)))
    if found.kind is not Kind.TEXT:
        wrapped = exp.cast(wrapped, "varchar", dialect="duckdb")
    return exp.EQ(this=wrapped, expression=exp.Literal.string(value))


def _filtered(value: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """``value`` with every aggregate in it over the rows that fulfil ``condition`` only."""
    holder = exp.Paren(this=value.copy())
    for call in list(holder.find_all(exp.Func)):
        if not is_aggregate(call):
            continue
        outermost: exp.Expr = call
        while isinstance(outermost.parent, _WRAPPERS):
            outermost = outermost.parent
        if isinstance(outermost, exp.Filter):
            where = outermost.expression
            where.set("this", exp.and_(where.this.copy(), condition.copy()))
        else:
            where = exp.Where(this=condition.copy())
            outermost.replace(exp.Filter(this=outermost.copy(), expression=where))
    found: exp.Expr = holder.this
    return found.copy()


def _unpivoted(node: exp.Pivot, source: exp.Expr, columns: list[str], binder: Binder) -> exp.Select:
    """A row for every group of columns, without those that have a NULL."""
    name, values, items = _parts(node, source, binder)
    spelled = {c.lower(): c for c in columns}
    rows = [_row(item, spelled) for item in items]
    taken = {c.name.lower() for _, row in rows for c in row}
    kept = [exp.column(c, quoted=True) for c in columns if c.lower() not in taken]
    names = exp.Array(expressions=[exp.Literal.string(label) for label, _ in rows])
    lists = [exp.Array(expressions=[row[i].copy() for _, row in rows]) for i in range(len(values))]
    unnested = [exp.Explode(this=each) for each in (names, *lists)]
    query = exp.Select(
        expressions=[*kept, *(exp.alias_(u, n, quoted=True) for u, n in zip(unnested, (name, *values), strict=True))]
    ).from_(source)
    if node.args.get("include_nulls"):
        return query
    known = [exp.Is(this=exp.column(v, quoted=True), expression=exp.Null()).not_() for v in values]
    return exp.select("*").from_(query.subquery("_unpivot")).where(*known)


def _parts(node: exp.Pivot, source: exp.Expr, binder: Binder) -> tuple[str, list[str], list[exp.Expr]]:
    """What the column of names and those of values are called, and the groups of columns."""
    if node.args.get("fields"):
        (field,) = node.args["fields"]
        values = [v for e in node.expressions for v in (e.expressions if isinstance(e, exp.Tuple) else [e])]
        return field.this.name, [v.name for v in values], list(field.expressions)
    into = node.args.get("into")
    name = into.this.name if into is not None and into.this is not None else "name"
    values = [v.name for v in into.expressions] if into is not None and into.expressions else ["value"]
    items: list[exp.Expr] = []
    for item in node.expressions:
        if isinstance(item, (exp.Columns, exp.Star)):
            found = binder.describe(_over(source, [item], node))
            items += [exp.column(n, quoted=True) for n, _ in found]
        else:
            items.append(item)
    return name, values, items


def _row(item: exp.Expr, spelled: dict[str, str]) -> tuple[str, list[exp.Expr]]:
    """The name of one group of columns, and the columns."""
    inner = item.this if isinstance(item, (exp.PivotAlias, exp.Alias)) else item
    columns = list(inner.expressions) if isinstance(inner, exp.Tuple) else [inner.unnest()]
    for column in columns:
        if not isinstance(column, exp.Column):
            raise refused(item, "UNPIVOT of an expression", remedy="name it in a CTE first")
    names = [spelled.get(c.name.lower(), c.name) for c in columns]
    label = item.args["alias"].name if inner is not item else "_".join(names)
    return label, [exp.column(n, quoted=True) for n in names]
