"""Numbers: + - * / // % and rounding, with DuckDB's result types and overflow errors.

Of DOUBLEs both warehouses raise where a result is too large or too small, for which DuckDB gives infinity or 0.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.emit.warehouses.rules.casts import SIGNED, within
from realtime.emit.warehouses.rules.moments import moved
from realtime.emit.warehouses.warehouse import Writer, rule
from realtime.transpile.form import call, form, text
from realtime.transpile.lower import Rule, refused, type_of
from realtime.transpile.ranges import fits
from realtime.transpile.types import DOUBLE, DuckType, Kind

Numeric = Callable[[Writer, exp.Binary, str, DuckType], exp.Expr]
_TEMPORAL = (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.INTERVAL)
# Snowflake gives a product at most this scale, unless a factor has more.
_SCALE_OF_PRODUCTS = 12


def _arithmetic(operator: str, by_kind: dict[Kind, Numeric]) -> Rule:
    def build(writer: Writer, node: exp.Binary) -> exp.Expr:
        kinds = (type_of(node.left).kind, type_of(node.right).kind)
        if any(k in _TEMPORAL for k in kinds):
            return moved(writer, node)
        found = type_of(node)
        if Kind.NULL in kinds:
            return writer.cast(exp.null(), found)
        if any(k not in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT) for k in kinds) or found.kind not in by_kind:
            raise refused(
                node, f"{type_of(node.left)} {operator} {type_of(node.right)}", remedy="cast both sides to numbers"
            )
        return by_kind[found.kind](writer, node, operator, found)

    return rule(build)


def _sides(writer: Writer, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    """Both sides as the result's type, and the operator between them."""
    return form(f"l {operator} r", l=writer.to(node.left, found), r=writer.to(node.right, found))


def _plain(writer: Writer, node: exp.Binary, operator: str) -> exp.Expr:
    return form(f"l {operator} r", l=writer(node.left), r=writer(node.right))


def _signed(node: exp.Expr, found: DuckType) -> None:
    if found.name not in SIGNED:
        raise refused(node, f"arithmetic that gives {found}", remedy="cast one side to INTEGER or BIGINT")


def _postgres_integers(writer: Writer, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    """PostgreSQL's integers have DuckDB's widths and raise where it does, if the wider side is the result's type."""
    _signed(node, found)
    widths = [SIGNED.index(t.name) if (t := type_of(s)).name in SIGNED else -1 for s in (node.left, node.right)]
    if max(widths) != SIGNED.index(found.name) or min(widths) < 0:
        written = _sides(writer, node, operator, found)
    else:
        written = _plain(writer, node, operator)
    return writer.cast(written, found) if found.name == "HUGEINT" else written


def _snowflake_integers(writer: Writer, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    written = _plain(writer, node, operator)
    return writer.cast(written, found) if fits(node) else within(writer, written, found)


def _decimals(writer: Writer, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    return writer.cast(_plain(writer, node, operator), found)


def _snowflake_products(writer: Writer, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    scales = [type_of(side).scale for side in (node.left, node.right)]
    if sum(scales) > max(_SCALE_OF_PRODUCTS, *scales):
        raise refused(
            node,
            f"Snowflake rounds products to {_SCALE_OF_PRODUCTS} places",
            remedy="cast the factors to fewer places",
        )
    return _decimals(writer, node, operator, found)


_POSTGRES: dict[Kind, Numeric] = {
    Kind.INTEGER: _postgres_integers,
    Kind.DECIMAL: _decimals,
    Kind.FLOAT: _sides,
}
_SNOWFLAKE: dict[Kind, Numeric] = {
    Kind.INTEGER: _snowflake_integers,
    Kind.DECIMAL: _decimals,
    Kind.FLOAT: _sides,
}


def _divide(writer: Writer, node: exp.Div) -> exp.Expr:
    """DuckDB's ``/`` is of DOUBLEs, and x / 0 is infinite or NaN."""
    found, divisor = type_of(node), node.right
    kinds = (type_of(node.left).kind, type_of(divisor).kind)
    if found != DOUBLE or any(k not in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT) for k in kinds):
        raise refused(node, f"division that gives {found}", remedy="cast one side to DOUBLE")
    left, right = writer.to(node.left, DOUBLE), writer.to(divisor, DOUBLE)
    quotient = form("l / r", l=left, r=right)
    if _never_zero(divisor):
        return quotient
    if type_of(divisor).kind is Kind.FLOAT:
        raise refused(
            node, "a DOUBLE divisor may be -0, which gives -infinity", remedy="divide by nullif(x, 0), or by a DECIMAL"
        )
    infinity = writer.cast(text("Infinity" if writer.warehouse.name == "postgres" else "inf"), DOUBLE)
    return form(
        "CASE WHEN x = 0 THEN l * infinity ELSE q END", x=writer(divisor), l=left, infinity=infinity, q=quotient
    )


def _never_zero(node: exp.Expr) -> bool:
    inner = node.unnest()
    if isinstance(inner, exp.Cast) and type_of(inner).kind is Kind.FLOAT:
        return _never_zero(inner.this)
    if isinstance(inner, exp.Nullif):
        return isinstance(inner.expression, exp.Literal) and float(inner.expression.name or 1) == 0
    return isinstance(inner, exp.Literal) and not inner.is_string and float(inner.name) != 0


def _postgres_whole(writer: Writer, node: exp.IntDiv) -> exp.Expr:
    found = type_of(node)
    _whole_sides(node, found)
    if found.name != "HUGEINT":
        return _postgres_integers(writer, node, "/", found)
    return writer.cast(call("div", writer.to(node.left, found), writer.to(node.right, found)), found)


def _snowflake_whole(writer: Writer, node: exp.IntDiv) -> exp.Expr:
    """A quotient of six places may be rounded up to the next whole number: what is divided has no remainder."""
    found = type_of(node)
    _whole_sides(node, found)
    if found.name == "HUGEINT":
        raise refused(node, "Snowflake has no room for quotients of HUGEINT", remedy="cast both sides to BIGINT")
    return within(writer, form("(l - mod(l, r)) / r", l=writer(node.left), r=writer(node.right)), found)


def _whole_sides(node: exp.Expr, found: DuckType) -> None:
    if found.kind is not Kind.INTEGER:
        raise refused(node, f"// that gives {found}", remedy="cast both sides to integers")
    _signed(node, found)


def _modulo(writer: Writer, node: exp.Mod) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.INTEGER:
        _signed(node, found)
    elif found.kind is not Kind.DECIMAL:
        raise refused(node, f"% that gives {found}", remedy="cast both sides to DECIMAL")
    return writer.cast(call("mod", writer.to(node.left, found), writer.to(node.right, found)), found)


def _negative(writer: Writer, node: exp.Neg) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.INTEGER and not isinstance(node.this, exp.Literal):
        _signed(node, found)
    if found.kind not in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT):
        raise refused(node, f"minus of {found}", remedy="cast it to a number")
    written = writer(node.this)
    plain = isinstance(written, (exp.Column, exp.Literal, exp.Cast, exp.Anonymous, exp.Paren))
    negated = exp.Neg(this=written if plain else exp.paren(written))
    guarded = writer.warehouse.name == "snowflake" and found.kind is Kind.INTEGER
    return within(writer, negated, found) if guarded and not isinstance(node.this, exp.Literal) else negated


def _absolute(writer: Writer, node: exp.Abs) -> exp.Expr:
    found = type_of(node)
    written = call("abs", writer(node.this))
    if found.kind is Kind.INTEGER:
        _signed(node, found)
        return within(writer, written, found) if writer.warehouse.name == "snowflake" else written
    if found.kind not in (Kind.DECIMAL, Kind.FLOAT):
        raise refused(node, f"abs of {found}", remedy="cast it to a number")
    return written


def _up_or_down(name: str) -> Rule:
    def build(writer: Writer, node: exp.Func) -> exp.Expr:
        found, given = type_of(node), type_of(node.this)
        if found.kind not in (Kind.DECIMAL, Kind.FLOAT) or given.kind not in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT):
            raise refused(node, f"{name} of {given}", remedy="cast it to a number")
        if found.kind is Kind.FLOAT:
            return call(name, writer.to(node.this, found))
        return writer.cast(call(name, writer(node.this)), found)

    return rule(build)


def _sign(writer: Writer, node: exp.Sign) -> exp.Expr:
    if type_of(node.this).kind not in (Kind.INTEGER, Kind.DECIMAL):
        raise refused(node, f"sign of {type_of(node.this)}, which may be NaN", remedy="cast it to DECIMAL")
    return writer.cast(call("sign", writer(node.this)), type_of(node))


def _round(writer: Writer, node: exp.Round) -> exp.Expr:
    """Half away from zero; PostgreSQL rounds DOUBLEs half to even."""
    found, given = type_of(node), node.args.get("decimals")
    places = exp.Literal.number(0) if given is None else given
    if not isinstance(places, exp.Literal) or not places.is_int:
        raise refused(node, "round to places that are no constant, or negative", remedy="write the number")
    if found.kind is Kind.DECIMAL:
        return writer.cast(call("round", writer(node.this), places.copy()), found)
    if found.kind is not Kind.FLOAT or found != DOUBLE or writer.warehouse.name != "postgres":
        raise refused(node, f"round that gives {found}", remedy="round a DECIMAL")
    x = writer(node.this)
    if int(places.name) == 0:
        return _half_away(x)
    by = exp.Literal.number(10 ** int(places.name))
    bound = writer.cast(text(repr(1e308 / 10 ** int(places.name))), DOUBLE)
    scaled = form("r / by", r=_half_away(form("x * by", x=x, by=by)), by=by)
    return form("CASE WHEN abs(x) < bound THEN r ELSE x END", x=x, bound=bound, r=scaled)


def _half_away(x: exp.Expr) -> exp.Expr:
    template = "trunc(x) + CASE WHEN abs(x - trunc(x)) >= 0.5 THEN sign(x) ELSE 0 END"
    return exp.paren(form(template, x=x))


def _tables(by_kind: dict[Kind, Numeric], products: Numeric) -> dict[type[exp.Expr], Rule]:
    return {
        exp.Add: _arithmetic("+", by_kind),
        exp.Sub: _arithmetic("-", by_kind),
        exp.Mul: _arithmetic("*", {**by_kind, Kind.DECIMAL: products}),
    }


RULES: dict[type[exp.Expr], Rule] = {
    exp.Div: rule(_divide, "typed safe"),
    exp.Mod: rule(_modulo),
    exp.Neg: rule(_negative),
    exp.Abs: rule(_absolute),
    exp.Floor: _up_or_down("floor"),
    exp.Ceil: _up_or_down("ceil"),
    exp.Trunc: _up_or_down("trunc"),
    exp.Sign: rule(_sign),
    exp.Round: rule(_round, "decimals"),
}
POSTGRES: dict[type[exp.Expr], Rule] = {
    **_tables(_POSTGRES, _decimals),
    exp.IntDiv: rule(_postgres_whole, "typed safe"),
}
SNOWFLAKE: dict[type[exp.Expr], Rule] = {
    **_tables(_SNOWFLAKE, _snowflake_products),
    exp.IntDiv: rule(_snowflake_whole, "typed safe"),
}
