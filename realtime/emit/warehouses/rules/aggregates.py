"""Aggregates, by themselves and over windows."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from realtime.emit.warehouses.warehouse import Aggregate, Call, Writer, placed, rule
from realtime.transpile.form import form, text
from realtime.transpile.lower import Rule, name_of, refused, type_of
from realtime.transpile.rules.text import constant_of
from realtime.transpile.types import DOUBLE, NESTED, DuckType, Kind, duck_type

_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)


def aggregate(writer: Writer, node: exp.Expr, call: Call) -> exp.Expr:
    """An aggregate, its FILTER and DISTINCT added to ``call``."""
    if isinstance(node, exp.Filter):
        call = Call(writer, writer.condition(node.expression.this), call.distinct, call.over)
        node = node.this
    build = writer.warehouse.aggregates.get(type(node))
    if build is None:
        raise refused(
            node, f"{name_of(node)} has no exact form in {writer.warehouse.title}", remedy="see docs/warehouses.md"
        )
    unknown = {k for k, v in node.args.items() if v not in (None, False, [])} - {"this", "expression", "big_int"}
    if unknown - ({"separator"} if isinstance(node, exp.GroupConcat) else set()):
        raise refused(node, f"{', '.join(sorted(unknown))} of {name_of(node)}", remedy="drop it")
    if isinstance(node.this, exp.Distinct):
        if len(node.this.expressions) != 1 or node.this.args.get("on") is not None:
            raise refused(node, "DISTINCT over several values", remedy="select DISTINCT in a CTE first")
        node = node.copy()
        argument = node.this.expressions[0]
        node.set("this", argument)
        call = Call(writer, call.condition, True, call.over)
    return build(call, node)


def _alone(writer: Writer, node: exp.Expr) -> exp.Expr:
    return aggregate(writer, node, Call(writer))


def _count(call: Call, node: exp.Count) -> exp.Expr:
    if isinstance(node.this, exp.Star):
        return call("count", None)
    return call("count", call.writer(node.this))


def _sum(call: Call, node: exp.Sum) -> exp.Expr:
    writer, given = call.writer, type_of(node.this)
    if given.kind is Kind.BOOLEAN:
        return writer.cast(call("sum", writer.to(node.this, duck_type("INTEGER"))), type_of_aggregate(node))
    if given.kind not in _NUMBERS:
        raise refused(node, f"sum of {given}", remedy="cast it to a number")
    if given.kind is Kind.FLOAT:
        return call("sum", writer.to(node.this, DOUBLE))
    return writer.cast(call("sum", writer(node.this)), type_of_aggregate(node))


def type_of_aggregate(node: exp.Expr) -> DuckType:
    """DuckDB's type of a sum: HUGEINT of whole numbers, 38 digits of decimals."""
    given = type_of(node.this)
    return duck_type(f"DECIMAL(38,{given.scale})") if given.kind is Kind.DECIMAL else duck_type("HUGEINT")


def _average(call: Call, node: exp.Avg) -> exp.Expr:
    """The exact sum as a DOUBLE, divided by the count, as DuckDB computes it; the last bit may differ."""
    writer, given = call.writer, type_of(node.this)
    if given.kind not in _NUMBERS:
        raise refused(node, f"avg of {given}", remedy="cast it to a number")
    if given.kind is Kind.FLOAT:
        return call("avg", writer.to(node.this, DOUBLE))
    x = writer(node.this)
    return form("s / nullif(n, 0)", s=writer.cast(call("sum", x), DOUBLE), n=call("count", x))


def _edge(name: str) -> Aggregate:
    def build(call: Call, node: Any) -> exp.Expr:
        writer, given = call.writer, type_of(node.this)
        if node.args.get("expression") is not None or given.kind in (Kind.UUID, *NESTED):
            raise refused(node, f"{name} of {given} or of several", remedy="order and number the rows")
        x = writer(node.this)
        if given.kind is Kind.BOOLEAN and writer.warehouse.name == "postgres":
            return call({"min": "bool_and", "max": "bool_or"}[name], x)
        if given.kind is Kind.TEXT:
            return writer.uncollated(call(name, writer.collated(x)))
        return call(name, x)

    return build


def _boolean(name: str) -> Aggregate:
    def build(call: Call, node: Any) -> exp.Expr:
        return call(name, call.writer.condition(node.this))

    return build


def _count_if(call: Call, node: exp.CountIf) -> exp.Expr:
    one = form("CASE WHEN c THEN 1 END", c=call.writer.condition(node.this))
    return call.writer.cast(call("count", one), type_of(node))


def _string_agg(call: Call, node: exp.GroupConcat) -> exp.Expr:
    order, separator = node.this, node.args.get("separator")
    if not isinstance(order, exp.Order):
        raise refused(
            node, "string_agg without ORDER BY depends on chance", remedy="write string_agg(x, ',' ORDER BY …)"
        )
    if call.distinct or type_of(order.this).kind is not Kind.TEXT:
        raise refused(node, "string_agg of DISTINCT or of what is no text", remedy="cast it, DISTINCT in a CTE")
    x = call.writer(order.this)
    between = text(constant_of(separator, "a separator") if separator is not None else ",")
    keys = call.writer.keys(order)
    if call.writer.warehouse.name == "postgres":
        return call("string_agg", x, exp.Order(this=between, expressions=keys))
    # LISTAGG of nothing is an empty text.
    listed = Call(
        call.writer,
        call.condition,
        over=lambda made: exp.WithinGroup(this=made, expression=exp.Order(expressions=keys)),
    )
    return form("CASE WHEN n > 0 THEN l END", n=call("count", x), l=listed("listagg", x, between))


def _best(descending: bool) -> Aggregate:
    """arg_max and arg_min: rows in which either is NULL do not count. Of ties either may win, in DuckDB too."""

    def build(call: Call, node: Any) -> exp.Expr:
        writer = call.writer
        if call.distinct or type_of(node).kind in NESTED:
            raise refused(node, f"{name_of(node)} of DISTINCT or nested values", remedy="number the rows instead")
        x, key = writer(node.this), writer.ordering(node.expression)
        if writer.warehouse.name == "snowflake":
            known = form("CASE WHEN NOT x IS NULL THEN k END", x=x, k=key)
            return call("max_by" if descending else "min_by", x, known)
        known = form("NOT x IS NULL AND NOT k IS NULL", x=x, k=writer(node.expression))
        if call.condition is not None:
            known = exp.and_(call.condition, known)
        first = exp.Order(this=x, expressions=[placed(exp.Ordered(desc=descending), key)])
        listed = Call(writer, known, over=call.over)("array_agg", first)
        return exp.Bracket(this=exp.paren(listed), expressions=[exp.Literal.number(1)], offset=1)

    return build


_EVERYWHERE: dict[type[exp.Expr], Aggregate] = {
    exp.Count: _count,
    exp.Sum: _sum,
    exp.Avg: _average,
    exp.Min: _edge("min"),
    exp.Max: _edge("max"),
    exp.CountIf: _count_if,
    exp.GroupConcat: _string_agg,
    exp.ArgMax: _best(descending=True),
    exp.ArgMin: _best(descending=False),
}
POSTGRES_AGGREGATES: dict[type[exp.Expr], Aggregate] = {
    **_EVERYWHERE,
    exp.LogicalOr: _boolean("bool_or"),
    exp.LogicalAnd: _boolean("bool_and"),
}
SNOWFLAKE_AGGREGATES: dict[type[exp.Expr], Aggregate] = {
    **_EVERYWHERE,
    exp.LogicalOr: _boolean("boolor_agg"),
    exp.LogicalAnd: _boolean("booland_agg"),
}
_ARGS = "big_int separator order"
RULES: dict[type[exp.Expr], Rule] = {kind: rule(_alone, _ARGS) for kind in (*POSTGRES_AGGREGATES, exp.Filter)}
