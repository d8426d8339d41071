"""AND, OR, NOT, comparisons, IN and EXISTS: SQL's own logic, once both sides are of one type.

Measured: PostgreSQL has NaN = NaN and above every number, and 0 = -0, as DuckDB; Snowflake documents the same.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.emit.warehouses.warehouse import Writer, rule
from realtime.transpile.form import call, form
from realtime.transpile.lower import Rule, refused, type_of
from realtime.transpile.types import BOOLEAN, DOUBLE, NESTED, TIMESTAMP, DuckType, Kind

_ORDERED = (exp.LT, exp.LTE, exp.GT, exp.GTE)
_SAME = (Kind.BOOLEAN, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.UUID)


def _connective(writer: Writer, node: exp.Connector) -> exp.Expr:
    sides = [_operand(writer, node, side) for side in (node.left, node.right)]
    return type(node)(this=sides[0], expression=sides[1])


def _operand(writer: Writer, parent: exp.Expr, node: exp.Expr) -> exp.Expr:
    written = writer.condition(node)
    mixed = isinstance(written, (exp.And, exp.Or)) and type(written) is not type(parent)
    return exp.paren(written) if mixed else written


def _not(writer: Writer, node: exp.Not) -> exp.Expr:
    inner = node.this.unnest()
    if isinstance(inner, exp.Is):
        return exp.Not(this=_is(writer, inner))
    return form("NOT (x)", x=writer.condition(node.this))


def _is(writer: Writer, node: exp.Is) -> exp.Expr:
    if isinstance(node.expression, exp.Null):
        return form("x IS NULL", x=writer(node.this))
    if isinstance(node.expression, exp.Boolean):
        return _is_known(writer, writer.condition(node.this), bool(node.expression.this))
    raise refused(node, "this form of IS", remedy="compare with IS NULL, IS TRUE or IS FALSE")


def _is_known(writer: Writer, x: exp.Expr, value: bool) -> exp.Expr:
    """Whether ``x`` is ``value`` and not NULL; Snowflake does not document IS TRUE."""
    if writer.warehouse.name == "postgres":
        return form("x IS TRUE" if value else "x IS FALSE", x=x)
    return form("coalesce(x, FALSE)" if value else "NOT coalesce(x, TRUE)", x=x)


def _compare(writer: Writer, node: exp.Binary) -> exp.Expr:
    if any(type_of(side).kind is Kind.NULL for side in (node.left, node.right)):
        return writer.cast(exp.null(), BOOLEAN)
    left, right = compared(writer, node.left, node.right)
    texts = Kind.TEXT in (type_of(node.left).kind, type_of(node.right).kind)
    if isinstance(node, _ORDERED) and Kind.UUID in (type_of(node.left).kind, type_of(node.right).kind):
        raise refused(node, "UUIDs are ordered otherwise", remedy="compare a cast to VARCHAR")
    if texts and isinstance(node, _ORDERED) and type_of(node.left).kind is type_of(node.right).kind:
        left = writer.collated(left)
    return type(node)(this=_side(left), expression=_side(right))


def _side(written: exp.Expr) -> exp.Expr:
    return exp.paren(written) if isinstance(written, (exp.Binary, exp.Not, exp.Is)) else written


def compared(writer: Writer, left: exp.Expr, right: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Both sides in the type in which DuckDB compares them."""
    for node in (left, right):
        if isinstance(node, (exp.Any, exp.All, exp.Tuple)):
            raise refused(node, f"comparison with {node.key}", remedy="write IN (…) or compare column by column")
    a, b = type_of(left), type_of(right)
    for literal, other, kind in ((right, left, a), (left, right, b)):
        if isinstance(literal, exp.Literal) and literal.is_string and kind.kind is not Kind.TEXT:
            pair = (writer(other), writer.constant(literal, kind))
            return pair if literal is right else (pair[1], pair[0])
    common = _common(a, b)
    if common is None:
        raise refused(left.parent or left, f"{a} is compared with {b}", remedy="cast one side to the other's type")
    if common == "exact":
        return writer(left), writer(right)
    assert isinstance(common, DuckType)
    return writer.to(left, common), writer.to(right, common)


def _common(a: DuckType, b: DuckType) -> DuckType | str | None:
    """The type to compare in; ``exact`` where the values compare as they are; None where there is none."""
    exact = (Kind.INTEGER, Kind.DECIMAL)
    if (a.kind in exact and b.kind in exact) or (a == b and (a.kind in _SAME or a.kind is Kind.FLOAT)):
        return "exact"
    if a.kind is b.kind and a.kind in (Kind.TEXT, Kind.TIMESTAMPTZ):
        return "exact"
    numbers = (*exact, Kind.FLOAT)
    if a.kind in numbers and b.kind in numbers:
        # Of a FLOAT and an integer DuckDB compares in 32 bits.
        return DOUBLE if DOUBLE in (a, b) else None
    if {a.kind, b.kind} <= {Kind.DATE, Kind.TIMESTAMP}:
        return TIMESTAMP
    return None


def _null_safe(writer: Writer, node: exp.Binary) -> exp.Expr:
    if any(type_of(side).kind is Kind.NULL for side in (node.left, node.right)):
        raise refused(node, "IS DISTINCT FROM NULL", remedy="write IS NOT NULL")
    left, right = compared(writer, node.left, node.right)
    return type(node)(this=_side(left), expression=_side(right))


def _in(writer: Writer, node: exp.In) -> exp.Expr:
    query = node.args.get("query")
    if query is not None:
        return _in_query(writer, node, query)
    if not node.expressions:
        raise refused(node, "IN over a list", remedy="write the values in parentheses")
    pairs = [compared(writer, node.this, item) for item in node.expressions if type_of(item).kind is not Kind.NULL]
    nulls = [exp.null()] if len(pairs) < len(node.expressions) else []
    if not pairs or any(p[0] != pairs[0][0] for p in pairs):
        raise refused(node, "IN with values of several types", remedy="cast them to one type, or write OR")
    return exp.In(this=_side(pairs[0][0]), expressions=[*(p[1] for p in pairs), *nulls])


def _in_query(writer: Writer, node: exp.In, query: exp.Expr) -> exp.Expr:
    inner = query.unnest()
    if not isinstance(inner, exp.Select) or isinstance(node.this, exp.Tuple) or len(inner.expressions) != 1:
        raise refused(node, "this form of IN (SELECT …)", remedy="write EXISTS")
    a, b = type_of(node.this), type_of(inner.expressions[0].unalias())
    if _common(a, b) != "exact":
        raise refused(node, f"{a} IN a query of {b}", remedy="cast one side to the other's type")
    return exp.In(this=_side(writer(node.this)), query=exp.Subquery(this=writer.query(inner)))


def _exists(writer: Writer, node: exp.Exists) -> exp.Expr:
    inner = node.this.unnest()
    if not isinstance(inner, exp.Query):
        raise refused(node, "this form of EXISTS", remedy="write EXISTS (SELECT …)")
    return exp.Exists(this=writer.query(inner))


def _is_nan(writer: Writer, node: exp.IsNan) -> exp.Expr:
    nan = writer.cast(exp.Literal.string("NaN"), DOUBLE)
    return form("x = nan", x=writer.to(node.this, DOUBLE), nan=nan)


def _coalesce(writer: Writer, node: exp.Coalesce) -> exp.Expr:
    found = type_of(node)
    return call("coalesce", *(writer.to(x, found) for x in [node.this, *node.expressions]))


def _case(writer: Writer, node: exp.Case) -> exp.Expr:
    found = type_of(node)
    branches = [exp.If(this=writer.condition(b.this), true=writer.to(b.args["true"], found)) for b in node.args["ifs"]]
    default = node.args.get("default")
    return exp.Case(ifs=branches, default=writer.to(default, found) if default is not None else None)


def _if(writer: Writer, node: exp.If) -> exp.Expr:
    found, other = type_of(node), node.args.get("false")
    branch = exp.If(this=writer.condition(node.this), true=writer.to(node.args["true"], found))
    return exp.Case(ifs=[branch], default=writer.to(other, found) if other is not None else None)


def _null_if(writer: Writer, node: exp.Nullif) -> exp.Expr:
    equal = compared(writer, node.this, node.expression)
    if equal[0] == writer(node.this):
        return call("nullif", *equal)
    condition = exp.EQ(this=_side(equal[0]), expression=_side(equal[1]))
    return form("CASE WHEN c THEN NULL ELSE x END", c=condition, x=writer(node.this))


def _extreme(name: str, *, skips_nulls: bool) -> Rule:
    """GREATEST and LEAST; where they give NULL for any NULL, each value is replaced by the next that is known."""

    def build(writer: Writer, node: exp.Func) -> exp.Expr:
        found = type_of(node)
        values = [writer.to(x, found) for x in [node.this, *node.expressions]]
        if found.kind is Kind.TEXT:
            values = [writer.collated(v) for v in values]
        if found.kind in (Kind.UUID, Kind.BOOLEAN, *NESTED, Kind.JSON, Kind.INTERVAL):
            raise refused(node, f"{name} of {found}", remedy="write a CASE")
        if not skips_nulls and len(values) > 1:
            values = [call("coalesce", v, *values[:i], *values[i + 1 :]) for i, v in enumerate(values)]
        written = call(name, *values)
        return writer.uncollated(written) if found.kind is Kind.TEXT else written

    return rule(build, "ignore_nulls")


RULES: dict[type[exp.Expr], Rule] = {
    **{kind: rule(_connective) for kind in (exp.And, exp.Or)},
    **{kind: rule(_compare) for kind in (exp.EQ, exp.NEQ, *_ORDERED)},
    **{kind: rule(_null_safe) for kind in (exp.NullSafeEQ, exp.NullSafeNEQ)},
    exp.Not: rule(_not),
    exp.Is: rule(_is),
    exp.In: rule(_in, "query"),
    exp.Exists: rule(_exists),
    exp.IsNan: rule(_is_nan),
    exp.Case: rule(_case, "ifs default"),
    exp.If: rule(_if, "true false"),
    exp.Coalesce: rule(_coalesce, "is_nvl is_null"),
    exp.Nullif: rule(_null_if),
}
POSTGRES: dict[type[exp.Expr], Rule] = {
    exp.Greatest: _extreme("greatest", skips_nulls=True),
    exp.Least: _extreme("least", skips_nulls=True),
}
SNOWFLAKE: dict[type[exp.Expr], Rule] = {
    exp.Greatest: _extreme("greatest", skips_nulls=False),
    exp.Least: _extreme("least", skips_nulls=False),
}
