"""PostgreSQL, as its manual has it and as version 15 does it (tests/fixtures/dialects/postgres.sql runs there).

A value of DuckDB's HUGEINT stands for a numeric without digits after the point, which is what sum(bigint) gives.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects import moments
from realtime.dialects.aggregates import argument, giving, wrappers
from realtime.dialects.dialect import EXACT, NUMBERS, Dialect, Rule, Translation, cast, form, refusal, rule
from realtime.dialects.numbers import literal_count, nonzero
from realtime.dialects.shared import is_iso, ordered_family
from realtime.transpile.types import Kind

_INTEGERS = ("SMALLINT", "INTEGER", "BIGINT")
_LATIN = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_NUMERIC = "a numeric quotient has as many digits as Postgres chooses by its value"


def _arithmetic(t: Translation, node: exp.Binary) -> exp.Expr:
    """``+``, ``-``, ``*``: of numbers as in DuckDB, but that smallint and a literal make an integer; of dates and
    intervals (9.9.1 Date/Time Functions and Operators)."""
    left, right = node.this, node.expression
    if isinstance(right, exp.Interval) and not isinstance(node, exp.Mul):
        kind = moments.moment(t, left)
        moved = moments.shifted(t, left, kind, right.this, _interval_unit(t, right), back=isinstance(node, exp.Sub))
        # A date and an interval make a timestamp.
        return moved if kind is Kind.TIMESTAMP else cast(moved.this, "TIMESTAMP")
    kinds = (t.kind_of(left), t.kind_of(right))
    if all(k in NUMBERS for k in kinds):
        for operand, other in ((left, right), (right, left)):
            if t.type_of(operand).name == "SMALLINT" and isinstance(other.unnest(), exp.Literal):
                operand.replace(cast(operand, "INTEGER"))
        return node
    if not isinstance(node, exp.Mul) and kinds == (Kind.DATE, Kind.INTEGER):
        return node
    if isinstance(node, exp.Sub) and kinds == (Kind.DATE, Kind.DATE):
        return cast(node, "INTEGER")
    raise t.refused(node, f"{kinds[0]} {node.key} {kinds[1]} has no equal in DuckDB", "add explicit CASTs")


def _interval_unit(t: Translation, interval: exp.Interval) -> str:
    return moments.unit_of(t, interval, (*moments.UNITS, "week"))


def _division(t: Translation, node: exp.Div) -> exp.Expr:
    """Of integers it truncates, of doubles it does not (9.3 Mathematical Functions and Operators)."""
    names = {t.type_of(n).name for n in (node.this, node.expression)}
    nonzero(t, node)
    if names <= set(_INTEGERS):
        return form("(a // b)", a=node.this, b=node.expression)
    if "DOUBLE" in names and all(t.kind_of(n) in NUMBERS for n in (node.this, node.expression)):
        return form("(a / b)", a=cast(node.this, "DOUBLE"), b=cast(node.expression, "DOUBLE"))
    raise t.refused(node, _NUMERIC, "cast one side to double precision")


def _remainder(t: Translation, node: exp.Mod) -> exp.Expr:
    """The dividend's sign, as in DuckDB."""
    if any(t.kind_of(n) not in EXACT for n in (node.this, node.expression)):
        raise t.refused(node, "a remainder of doubles differs", "cast both sides to integers")
    nonzero(t, node)
    return form("(a % b)", a=node.this, b=node.expression)


def _sum(t: Translation, node: exp.Sum) -> exp.Expr:
    """sum(smallint, integer) is a bigint, sum(bigint) a numeric (9.21 Aggregate Functions)."""
    found = t.type_of(argument(node))
    if found.name in ("SMALLINT", "INTEGER"):
        return giving(node, "BIGINT")
    if found.kind in EXACT or found.name == "DOUBLE":
        return node
    raise t.refused(node, f"the sum of {found} differs in DuckDB", "cast to double precision or numeric(p, s)")


def _average(t: Translation, node: exp.Avg) -> exp.Expr:
    if t.type_of(argument(node)).name != "DOUBLE":
        raise t.refused(node, _NUMERIC, "avg(x::double precision)")
    return node


def _round(t: Translation, node: exp.Round) -> exp.Expr:
    """round(numeric) breaks ties away from zero, as DuckDB does; round(double precision) to even."""
    if t.kind_of(node.this) not in EXACT:
        raise t.refused(node, "Postgres rounds halves of doubles to even, DuckDB away from zero", "floor(x + 0.5)")
    decimals = node.args.get("decimals")
    if decimals is None:
        return form("round(x)", x=node.this)
    literal_count(t, decimals, 0, "the number of digits")
    return form("round(x, n)", x=node.this, n=decimals)


def _truncate(t: Translation, node: exp.Trunc) -> exp.Expr:
    if node.args.get("decimals") is not None or t.kind_of(node.this) not in NUMBERS:
        raise t.refused(node, "trunc to a number of digits has no equal", "trunc(x) of a number")
    return form("trunc(x)", x=node.this)


def _cast(t: Translation, node: exp.Cast) -> exp.Expr:
    """Casts whose values are equal: decimals to integers away from zero, doubles to integers to even, as DuckDB."""
    to, value = node.args["to"], node.this
    literal = isinstance(value, exp.Literal) and value.is_string
    kind = Kind.TEXT if literal else t.kind_of(value)
    if to.this == exp.DType.DECIMAL and not to.expressions and kind in (*EXACT, Kind.NULL):
        return value.copy() if kind is Kind.DECIMAL else cast(value, "HUGEINT")
    wanted = t.duckdb_type(node)
    allowed = _CASTS.get(kind, ())
    family = wanted.partition("(")[0]
    if family not in allowed and not (family == "TIMESTAMP" and is_iso(value, Kind.TIMESTAMP)):
        raise t.refused(
            node, f"{kind} becomes {to.sql('postgres')} differently in DuckDB", _CAST_REMEDIES.get(kind, "")
        )
    if wanted == "VARCHAR" and to.expressions:
        return form("left(x, n)", x=cast(value, "VARCHAR"), n=exp.Literal.number(to.expressions[0].name))
    return cast(value, wanted)


_WHOLE = ("SMALLINT", "INTEGER", "BIGINT")
_CASTS: dict[Kind, tuple[str, ...]] = {
    Kind.INTEGER: (*_WHOLE, "DECIMAL", "DOUBLE", "VARCHAR"),
    Kind.DECIMAL: (*_WHOLE, "DECIMAL", "DOUBLE", "VARCHAR"),
    Kind.FLOAT: (*_WHOLE, "DOUBLE"),
    Kind.TEXT: (*_WHOLE, "DECIMAL", "DOUBLE", "DATE", "VARCHAR", "UUID"),
    Kind.BOOLEAN: ("INTEGER", "BOOLEAN", "VARCHAR"),
    Kind.DATE: ("DATE", "TIMESTAMP", "VARCHAR"),
    Kind.TIMESTAMP: ("DATE", "TIMESTAMP", "VARCHAR"),
    Kind.TIMESTAMPTZ: ("TIMESTAMPTZ",),
    Kind.UUID: ("UUID", "VARCHAR"),
    Kind.NULL: (*_WHOLE, "DECIMAL", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR", "BOOLEAN", "UUID"),
}
_CAST_REMEDIES = {
    Kind.TIMESTAMPTZ: "write x AT TIME ZONE 'UTC'",
    Kind.TEXT: "declare the source's column with its own type",
    Kind.FLOAT: "keep it double precision",
}


def _zone(t: Translation, node: exp.AtTimeZone) -> exp.Expr:
    """Only UTC: other zones change with the engine's edition of the time zone database."""
    zone = node.args["zone"]
    if t.kind_of(node.this) is not Kind.TIMESTAMPTZ or zone.name.upper() != "UTC":
        raise t.refused(node, "rules of time zones change with each engine's edition of them", "AT TIME ZONE 'UTC'")
    return form("CAST(x AS TIMESTAMP)", x=node.this)


def _date_trunc(t: Translation, node: exp.TimestampTrunc) -> exp.Expr:
    """Weeks begin on Monday. Of a date Postgres makes an instant in the session's zone (9.9.2 date_trunc)."""
    unit = moments.unit_of(t, node, (*moments.UNITS, "week"))
    kind = moments.moment(t, node.this)
    around = node.parent
    if kind is Kind.DATE and not (isinstance(around, exp.Cast) and around.to.this == exp.DType.DATE):
        raise t.refused(node, "date_trunc of a date gives an instant in the session's zone", "date_trunc(…)::date")
    return exp.TimestampTrunc(this=node.this.copy(), unit=exp.var(unit.upper()))


_PARTS = {n: n for n in ("year", "quarter", "month", "day", "hour", "minute", "dow", "isodow", "doy", "week")}


def _extract(t: Translation, node: exp.Extract) -> exp.Expr:
    """A numeric; seconds are left out, for they have a fraction (9.9.1 EXTRACT)."""
    name = node.this.name.lower()
    if name not in _PARTS:
        raise t.refused(node, f"{name} is computed differently in DuckDB", f"parts that are equal: {', '.join(_PARTS)}")
    if moments.moment(t, node.expression) is Kind.DATE and name in ("hour", "minute"):
        raise t.refused(node, "a date has no hours", "use a timestamp")
    return cast(moments.part(t, node.expression, name), "HUGEINT")


def _collate(t: Translation, node: exp.Collate) -> exp.Expr:
    """COLLATE "C" orders by bytes, as DuckDB does."""
    if node.expression.name.upper() != "C":
        raise t.refused(node, "collations differ from server to server", 'use COLLATE "C"')
    plain = exp.paren(node.this.copy())
    plain.meta["bytewise"] = True
    return plain


def _letters(source: str, target: str) -> Rule:
    """lower() and upper() in the C locale change A to Z only."""

    def build(t: Translation, node: exp.Lower | exp.Upper) -> exp.Expr:
        if not node.this.meta.get("bytewise"):
            reason = "which letters change depends on the server's locale"
            raise t.refused(node, reason, f'{node.key}(x COLLATE "C"), which changes A to Z only')
        return form("translate(x, a, b)", x=node.this.unnest(), a=source, b=target)

    return rule(build)


def _greatest(t: Translation, node: exp.Greatest | exp.Least) -> exp.Expr:
    """NULLs are left out, as in DuckDB (9.18.4 GREATEST and LEAST)."""
    ordered_family(t, node, [node.this, *node.expressions])
    return type(node)(this=node.this, expressions=node.expressions, ignore_nulls=True)


def _string_agg(t: Translation, node: exp.GroupConcat) -> exp.Expr:
    if not isinstance(node.this, exp.Order):
        raise t.refused(node, "without ORDER BY the order is left to chance", "string_agg(x, ',' ORDER BY key)")
    return node


def _concat(t: Translation, node: exp.Concat) -> exp.Expr:
    """NULLs are left out, as in DuckDB (9.4 concat)."""
    for operand in node.expressions:
        if t.kind_of(operand) not in (Kind.TEXT, Kind.INTEGER, Kind.NULL):
            raise t.refused(operand, "a value that is no text is written as text here", "CAST it to text first")
    return node


TYPES: dict[exp.DType, str | tuple[str, str]] = {
    exp.DType.SMALLINT: "SMALLINT",
    exp.DType.INT: "INTEGER",
    exp.DType.BIGINT: "BIGINT",
    exp.DType.DOUBLE: "DOUBLE",
    exp.DType.TEXT: "VARCHAR",
    exp.DType.VARCHAR: "VARCHAR",
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.DATE: "DATE",
    exp.DType.TIMESTAMP: "TIMESTAMP",
    exp.DType.TIMESTAMPTZ: "TIMESTAMPTZ",
    exp.DType.UUID: "UUID",
    exp.DType.FLOAT: ("real is added up in single precision", "use double precision"),
    exp.DType.CHAR: ("char(n) is padded with blanks that comparisons leave out", "use text"),
    exp.DType.JSON: ("numbers and blanks inside JSON are written differently", "declare its fields as columns"),
    exp.DType.JSONB: ("numbers and blanks inside JSON are written differently", "declare its fields as columns"),
    exp.DType.MONEY: ("money is shown by the server's locale", "use numeric(18, 2)"),
    exp.DType.INTERVAL: ("intervals are compared and shown differently", "store numbers of seconds"),
}

POSTGRES = Dialect(
    name="Postgres",
    sqlglot="postgres",
    types=TYPES,
    text_orders=False,
    rules={
        **wrappers(),
        exp.Add: rule(_arithmetic),
        exp.Sub: rule(_arithmetic),
        exp.Mul: rule(_arithmetic),
        exp.Div: rule(_division, "typed safe"),
        exp.Mod: rule(_remainder),
        exp.Sum: rule(_sum),
        exp.Avg: rule(_average),
        exp.Round: rule(_round, "decimals"),
        exp.Trunc: rule(_truncate, "decimals"),
        exp.Cast: rule(_cast, "to"),
        exp.AtTimeZone: rule(_zone, "zone"),
        exp.TimestampTrunc: rule(_date_trunc, "unit"),
        exp.Extract: rule(_extract),
        exp.Collate: rule(_collate),
        exp.Lower: _letters(*_LATIN),
        exp.Upper: _letters(*reversed(_LATIN)),
        exp.Greatest: rule(_greatest, "ignore_nulls"),
        exp.Least: rule(_greatest, "ignore_nulls"),
        exp.GroupConcat: rule(_string_agg, "separator"),
        exp.Concat: rule(_concat, "safe coalesce"),
        exp.Distinct: rule(args="on"),
        exp.Qualify: refusal("Postgres has no QUALIFY", "filter in a query around it"),
    },
)
