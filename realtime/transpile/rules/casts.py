"""CAST and TRY_CAST, and the implicit casts of everything else, with DuckDB's rounding and range checks."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form, text
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.rules import text_casts
from realtime.transpile.rules.rounding import check_steady, power_of_ten, rounded, within
from realtime.transpile.types import INTEGERS, NESTED, TIMESTAMP, DuckType, Kind

Conversion = Callable[[exp.Expr, DuckType, DuckType, bool], exp.Expr | None]
_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


def convert(node: exp.Expr, lowered: exp.Expr, target: DuckType, try_: bool) -> exp.Expr:
    """``lowered``, which has the type of ``node``, as ``target``; ``try_`` gives NULL where DuckDB's TRY_CAST does.

    RefusedError where the two engines do not convert alike.
    """
    found = converted(lowered, type_of(node), target, try_)
    if found is None:
        raise refused(node, f"no exact cast from {type_of(node)} to {target}", remedy="cast to another type first")
    return found


def converted(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr | None:
    """``x`` of type ``a`` as ``b``; None where there is no exact form."""
    if a == b:
        return x
    if a.kind is Kind.NULL:
        return None if b.kind in NESTED else cast(exp.null(), b.clickhouse)
    conversion = CONVERSIONS.get((a.kind, b.kind))
    return conversion(x, a, b, try_) if conversion is not None else None


def constant(lower: Lower, literal: exp.Expr, target: DuckType, *, try_: bool = False) -> exp.Expr:
    """A literal as ``target``, its value computed by DuckDB now; RefusedError where DuckDB can't, or out of range."""
    kind = exp.TryCast if try_ else exp.Cast
    wanted = kind(this=literal.copy(), to=exp.DataType.build(target.name, dialect="duckdb"))
    value = lower.binder.constant(exp.cast(wanted, "varchar", dialect="duckdb"))
    if value is None:
        return cast(exp.null(), target.clickhouse)
    if target.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ):
        return _moment(literal, str(value), target)
    if target.kind is Kind.BOOLEAN:
        return exp.Boolean(this=value == "true")
    if target.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.UUID):
        return cast(text(str(value)), target.base)
    if target.kind in (Kind.TEXT, Kind.ENUM):
        return text(str(value))
    raise refused(literal, f"a constant of type {target}", remedy="use another type")


def _moment(literal: exp.Expr, value: str, target: DuckType) -> exp.Expr:
    if not "1900-01-01" <= value[:10] <= "2299-12-31" or value.endswith("BC"):
        raise refused(literal, "ClickHouse keeps dates from 1900 to 2299", remedy="use a date in that range")
    if target.kind is Kind.DATE:
        return call("toDate32", value)
    return call("toDateTime64", value.removesuffix("+00"), 9 if target.name == "TIMESTAMP_NS" else 6, "UTC")


def parameter(node: exp.Expr, target: DuckType) -> exp.Expr:
    """``{name: Type}``, which the server binds; never a value pasted into text."""
    kind = exp.DataType.build(target.clickhouse, dialect="clickhouse")
    return exp.Placeholder(this=node.name, kind=kind)


def is_parameter(node: exp.Expr) -> bool:
    """Whether ``node`` is ``$name``."""
    return isinstance(node, (exp.Placeholder, exp.Parameter))


def _cast(lower: Lower, node: exp.Cast) -> exp.Expr:
    return _explicit(lower, node, False)


def _try_cast(lower: Lower, node: exp.TryCast) -> exp.Expr:
    return _explicit(lower, node, True)


def _explicit(lower: Lower, node: exp.Cast, try_: bool) -> exp.Expr:
    target, value = type_of(node), node.this
    if target.kind in (Kind.ENUM, Kind.BLOB, Kind.INTERVAL, Kind.OTHER):
        raise refused(node, f"{target} has no exact ClickHouse form", remedy="keep it as text or a number")
    if is_parameter(value):
        return parameter(value, target)
    number = isinstance(value, exp.Literal) and not value.is_string and target.kind in (Kind.INTEGER, Kind.DECIMAL)
    if isinstance(value, exp.Literal) and (number or value.is_string):
        return constant(lower, value, target, try_=try_)
    if type_of(value) == target:
        return lower(value)
    if target.kind in (Kind.INTEGER, Kind.DECIMAL):
        check_steady(lower, node)
    return lower.convert(value, lower(value), target, try_)


def _accurate(x: exp.Expr, b: DuckType, try_: bool) -> exp.Expr:
    return call("accurateCastOrNull", x, b.base) if try_ else call("accurateCast", x, f"Nullable({b.base})")


def _integer_to_integer(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    widens = a.name in _SIGNED and b.name in _SIGNED and _SIGNED.index(a.name) < _SIGNED.index(b.name)
    return cast(x, b.clickhouse) if widens else _accurate(x, b, try_)


def _plain(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return cast(x, b.clickhouse)


def _float_to_integer(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    # ClickHouse rounds floats half to even, as DuckDB casts them.
    return _accurate(call("round", x), b, try_)


def _decimal_to_integer(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return _accurate(call("toInt256", call("round", x)), b, try_)


def _decimal_to_decimal(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    if a.scale <= b.scale and a.precision - a.scale <= b.precision - b.scale:
        return cast(x, b.clickhouse)
    wide = cast(x, f"Nullable(Decimal(76, {b.scale}))")
    if a.scale > b.scale:
        wide = cast(call("round", x, b.scale), f"Nullable(Decimal(76, {a.scale}))")
    return cast(within(wide, b, try_), b.clickhouse)


def _integer_to_decimal(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    if a.kind is Kind.BOOLEAN:
        return cast(call("toUInt8", x), b.clickhouse)
    if INTEGERS[a.name][1] <= b.precision - b.scale:
        return cast(x, b.clickhouse)
    return cast(within(call("toDecimal256", x, b.scale), b, try_), b.clickhouse)


def _float_to_decimal(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    scaled = rounded(form("x * by", x=x, by=power_of_ten(b.scale)))
    fits = form("(abs(scaled) < 1e76)", scaled=scaled)
    # The value under a NULL is computed too, so what is no number must not reach the integer.
    known = form("if(fits, scaled, 0.)", fits=fits, scaled=scaled) if try_ else scaled
    by = exp.Literal.number(10**b.scale)
    exact = form("toDecimal256(toInt256(known), places) / by", known=known, places=b.scale, by=by)
    found = within(exact, b, try_)
    return cast(form("if(fits, found, NULL)", fits=fits, found=found) if try_ else found, b.clickhouse)


def _number_to_boolean(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return cast(form("x != 0", x=x), b.clickhouse)


def _to_text(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return call("toString", x)


def _boolean_to_text(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return call("toString", cast(x, "Nullable(Bool)"))


def _decimal_to_text(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return call("toDecimalString", x, a.scale)


def _timestamp_to_text(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr | None:
    if a.kind is Kind.TIMESTAMP and a != TIMESTAMP:
        return None
    template = """concat(formatDateTime(x, '%Y-%m-%d %H:%i:%S', 'UTC'), if(toMicrosecond(x) = 0, '',
        concat('.', trimRight(leftPad(toString(toMicrosecond(x)), 6, '0'), '0'))))"""
    shown = form(template, x=x)
    return shown if a.kind is Kind.TIMESTAMP else call("concat", shown, "+00")


def _same_text(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return x


def _timestamp_to_date(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return call("toDate32", x, "UTC")


def _date_to_timestamp(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    return call("toDateTime64", x, 6, "UTC")


def _timestamp_to_timestamp(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr | None:
    if a.name == "TIMESTAMP_NS":
        return None
    unit = {"TIMESTAMP_S": 1_000_000, "TIMESTAMP_MS": 1000}.get(b.name)
    if unit is None or a.name == "TIMESTAMP_S":
        return cast(x, b.clickhouse)
    template = "fromUnixTimestamp64Micro(intDiv(us + if(us >= 0, half, -half), toInt64(by)) * by, 'UTC')"
    micros = call("toUnixTimestamp64Micro", cast(x, TIMESTAMP.clickhouse))
    return cast(form(template, us=micros, half=unit // 2, by=unit), b.clickhouse)


def _timestamp_to_time(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr:
    # toTime64() of what is before 1970 is negative.
    of_day = form("positiveModulo(toUnixTimestamp64Micro(x), toInt64(86400000000))", x=x)
    return cast(call("toTime64", call("fromUnixTimestamp64Micro", call("toInt64", of_day), "UTC"), 6), b.clickhouse)


def _list_to_list(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr | None:
    item = converted(exp.column("_item"), a.item, b.item, try_)
    return form("arrayMap(_item -> value, x)", value=item, x=x) if item is not None else None


def _array_to_array(x: exp.Expr, a: DuckType, b: DuckType, try_: bool) -> exp.Expr | None:
    widens = a.size == b.size and (a.item.name, b.item.name) == ("FLOAT", "DOUBLE")
    return cast(x, b.clickhouse) if widens else None


_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
_TIMES = (Kind.TIMESTAMP, Kind.TIMESTAMPTZ)
CONVERSIONS: dict[tuple[Kind, Kind], Conversion] = {
    (Kind.INTEGER, Kind.INTEGER): _integer_to_integer,
    (Kind.BOOLEAN, Kind.INTEGER): _plain,
    (Kind.FLOAT, Kind.INTEGER): _float_to_integer,
    (Kind.DECIMAL, Kind.INTEGER): _decimal_to_integer,
    **{(kind, Kind.FLOAT): _plain for kind in (*_NUMBERS, Kind.BOOLEAN)},
    (Kind.DECIMAL, Kind.DECIMAL): _decimal_to_decimal,
    (Kind.INTEGER, Kind.DECIMAL): _integer_to_decimal,
    (Kind.BOOLEAN, Kind.DECIMAL): _integer_to_decimal,
    (Kind.FLOAT, Kind.DECIMAL): _float_to_decimal,
    **{(kind, Kind.BOOLEAN): _number_to_boolean for kind in _NUMBERS},
    **{(kind, Kind.TEXT): _to_text for kind in (Kind.INTEGER, Kind.DATE, Kind.UUID)},
    (Kind.BOOLEAN, Kind.TEXT): _boolean_to_text,
    (Kind.DECIMAL, Kind.TEXT): _decimal_to_text,
    **{(kind, Kind.TEXT): _timestamp_to_text for kind in _TIMES},
    **{(kind, Kind.TEXT): _same_text for kind in (Kind.ENUM, Kind.JSON)},
    **{(kind, Kind.DATE): _timestamp_to_date for kind in _TIMES},
    **{(Kind.DATE, kind): _date_to_timestamp for kind in _TIMES},
    **{(a, b): _timestamp_to_timestamp for a in _TIMES for b in _TIMES},
    (Kind.TIMESTAMP, Kind.TIME): _timestamp_to_time,
    (Kind.LIST, Kind.LIST): _list_to_list,
    (Kind.ARRAY, Kind.ARRAY): _array_to_array,
    **{(Kind.TEXT, kind): parse for kind, parse in text_casts.PARSERS.items()},
}

RULES: dict[type[exp.Expr], Rule] = {
    exp.Cast: rule(_cast, "to"),
    exp.TryCast: rule(_try_cast, "to safe"),
}
