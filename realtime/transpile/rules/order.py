"""ORDER BY with DuckDB's place for NULL and NaN, LIMIT and OFFSET."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call, column, form, text
from realtime.transpile.lower import Lower, refused, type_of
from realtime.transpile.types import NESTED, DuckType, Kind

INCOMPARABLE = (*NESTED, Kind.JSON, Kind.INTERVAL, Kind.OTHER)
"""Kinds whose order ClickHouse has nothing for."""
UNORDERED = (Kind.UUID, Kind.ENUM, *INCOMPARABLE)
"""Kinds that ClickHouse orders otherwise; the first two by something else as DuckDB does, see `comparable`."""


def lower_order(lower: Lower, query: exp.Query, out: exp.Select) -> None:
    """Writes ORDER BY of ``query`` into ``out``."""
    order = query.args.get("order")
    if order is None:
        return
    keys = [k for item in order.expressions for k in ordered(lower, item, _key(lower, item.this, query))]
    out.set("order", exp.Order(expressions=keys))


def ordered(lower: Lower, item: exp.Ordered, key: exp.Expr) -> list[exp.Ordered]:
    """The keys that order ``key`` as DuckDB orders ``item``: NaN is above every number."""
    desc, nulls_first = bool(item.args.get("desc")), bool(item.args.get("nulls_first"))
    found = type_of(item.this)
    if found.kind in INCOMPARABLE:
        raise refused(item, f"{found} has another order in ClickHouse", remedy="order by a cast or a field of it")
    key = comparable(key, found)
    # Going up, with NULLs last, ClickHouse has NaN between them and the numbers as well.
    nan_elsewhere = found.kind is Kind.FLOAT and (desc or nulls_first)
    keys = [call("isNaN", key), key] if nan_elsewhere else [key]
    return [exp.Ordered(this=k, desc=desc, nulls_first=nulls_first) for k in keys]


def comparable(key: exp.Expr, of: DuckType) -> exp.Expr:
    """``key`` as what orders it as DuckDB does: ClickHouse orders UUIDs by their second half first, and has the text of
    an ENUM, whose values are ordered as its type lists them."""
    if of.kind is Kind.UUID:
        return call("toString", key)
    if of.kind is Kind.ENUM:
        values = exp.Array(expressions=[text(value) for value in of.values])
        return form("nullIf(indexOf(values, x), 0)", values=values, x=key)
    return key


def _key(lower: Lower, node: exp.Expr, query: exp.Query) -> exp.Expr:
    """A key: an alias of the select list, or an expression over its source."""
    if isinstance(node, exp.Literal):
        raise refused(node, "ORDER BY a constant", remedy="name the column")
    if isinstance(node, exp.Column) and not node.table:
        if node.name not in [p.alias_or_name for p in query.selects]:
            raise refused(node, f"ORDER BY {node.name} names no column of the result")
        return column(node.name)
    if isinstance(query, exp.SetOperation):
        raise refused(node, "ORDER BY an expression over a set operation", remedy="select from it in an outer query")
    return lower(node)


def lower_limit(lower: Lower, query: exp.Query, out: exp.Select) -> None:
    """Writes LIMIT and OFFSET of ``query`` into ``out``: whole numbers or parameters."""
    for part in ("limit", "offset"):
        clause = query.args.get(part)
        if clause is None:
            continue
        if not isinstance(clause, (exp.Limit, exp.Offset)) or clause.args.get("limit_options"):
            raise refused(clause, "this form of LIMIT", remedy="write LIMIT n")
        out.set(part, type(clause)(expression=row_count(clause.expression)))


def row_count(node: exp.Expr) -> exp.Expr:
    """A whole number or a parameter, as LIMIT takes it."""
    if isinstance(node, exp.Literal) and node.is_int:
        return node.copy()
    if isinstance(node, exp.Cast) and isinstance(node.this, (exp.Placeholder, exp.Parameter)):
        return exp.Placeholder(this=node.this.name, kind=exp.DataType.build("UInt64", dialect="clickhouse"))
    raise refused(node, "LIMIT takes a whole number or a parameter", remedy="write LIMIT 10")
