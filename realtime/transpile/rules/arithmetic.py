"""Numbers: + - * / // % and rounding, with DuckDB's overflow errors and result types."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form, number
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.ranges import fits, range_of, type_range
from realtime.transpile.rules import intervals
from realtime.transpile.rules.casts import converted
from realtime.transpile.rules.rounding import check_steady, power_of_ten, rounded
from realtime.transpile.types import DOUBLE, DuckType, Kind, duck_type

_TEMPORAL = (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIME, Kind.INTERVAL)
# ClickHouse widens sums and products of these by itself, so that only the result needs its check.
_NARROW = ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER")


def _arithmetic(operator: str) -> Callable[[Lower, exp.Binary], exp.Expr]:
    def build(lower: Lower, node: exp.Binary) -> exp.Expr:
        kinds = (type_of(node.left).kind, type_of(node.right).kind)
        if any(k in _TEMPORAL for k in kinds):
            return intervals.shifted(lower, node)
        found = type_of(node)
        if Kind.NULL in kinds:
            return cast(exp.null(), found.clickhouse)
        if Kind.TEXT in kinds or Kind.JSON in kinds or found.kind not in _BY_KIND:
            raise refused(
                node, f"{type_of(node.left)} {operator} {type_of(node.right)}", remedy="cast both sides to numbers"
            )
        return _BY_KIND[found.kind](lower, node, operator, found)

    return build


def _integers(lower: Lower, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    left, right = lower(node.left), lower(node.right)
    if found.name not in _NARROW:
        wide = "toInt256" if found.name in ("HUGEINT", "UHUGEINT") else "toInt128"
        left, right = call(wide, left), call(wide, right)
    exact = form(f"l {operator} r", l=left, r=right)
    return cast(exact, found.clickhouse) if fits(node) else checked(exact, found)


def checked(x: exp.Expr, found: DuckType) -> exp.Expr:
    """A wide integer as ``found``; an error where it does not fit, as in DuckDB."""
    return call("accurateCast", x, found.clickhouse)


def _floats(lower: Lower, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    left, right = lower.to(node.left, found), lower.to(node.right, found)
    return form(f"l {operator} r", l=left, r=right)


def _decimals(lower: Lower, node: exp.Binary, operator: str, found: DuckType) -> exp.Expr:
    left, right = _wide(lower, node.left), _wide(lower, node.right)
    scales = [type_of(side).scale for side in (node.left, node.right)]
    scale = sum(scales) if operator == "*" else max(scales)
    exact = form(f"l {operator} r", l=left, r=right)
    if fits(node):
        return cast(exact, found.clickhouse)
    fitted = converted(exact, duck_type(f"DECIMAL(76,{scale})"), found, False)
    assert fitted is not None
    return fitted


def _wide(lower: Lower, node: exp.Expr) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.DECIMAL:
        return cast(lower(node), f"Nullable(Decimal(76, {found.scale}))")
    return call("toDecimal256", lower(node), 0)


_BY_KIND = {Kind.INTEGER: _integers, Kind.FLOAT: _floats, Kind.DECIMAL: _decimals}


def _divide(lower: Lower, node: exp.Div) -> exp.Expr:
    if type_of(node).kind is not Kind.FLOAT:
        raise refused(node, f"division that gives {type_of(node)}", remedy="cast one side to DOUBLE")
    return form("l / r", l=double(lower, node.left), r=double(lower, node.right))


def double(lower: Lower, node: exp.Expr) -> exp.Expr:
    """A number as DOUBLE."""
    if type_of(node).kind not in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT):
        raise refused(node, f"{type_of(node)} where a number is expected", remedy="cast it to DOUBLE")
    return lower.to(node, DOUBLE)


def _whole_division(lower: Lower, node: exp.IntDiv) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.FLOAT:
        # By 0 it fails, unlike the division of floats.
        sides = {"l": double(lower, node.left), "r": double(lower, node.right)}
        return form("l / (r + throwIf(ifNull(l IS NOT NULL AND r = 0, 0), 'division by zero'))", **sides)
    if found.kind is not Kind.INTEGER:
        raise refused(node, f"// that gives {found}", remedy="cast both sides to integers")
    wide = "toInt256" if found.name in ("HUGEINT", "UHUGEINT", "UBIGINT", "BIGINT") else "toInt64"
    left, right = call(wide, lower(node.left)), call(wide, lower(node.right))
    exact = form("intDiv(l, r)", l=left, r=right)
    return cast(exact, found.clickhouse) if fits(node) else checked(exact, found)


def _modulo(lower: Lower, node: exp.Mod) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.FLOAT:
        return _float_modulo(lower, node)
    if found.kind is Kind.INTEGER:
        # Of sides of different signedness ClickHouse takes the bits as unsigned.
        left, right = lower.to(node.left, found), lower.to(node.right, found)
        least = type_range(found)
        if least is not None and least[0] < 0 and _may_be(node.right, -1) and _may_be(node.left, int(least[0])):
            template = "l % (r + throwIf(ifNull(l = least AND r = -1, 0), 'overflow in division'))"
            return cast(form(template, l=left, r=right, least=_integer(int(least[0]), found)), found.clickhouse)
        return cast(form("l % r", l=left, r=right), found.clickhouse)
    if found.kind is Kind.DECIMAL:
        scaled = [_scaled(lower, side, found.scale) for side in (node.left, node.right)]
        whole = form("l % r", l=scaled[0], r=scaled[1])
        shown = form("toDecimal256(x, places) / by", x=whole, places=found.scale, by=number(10**found.scale))
        return cast(shown, found.clickhouse)
    raise refused(node, f"% that gives {found}", remedy="cast both sides to numbers")


def _may_be(node: exp.Expr, value: int) -> bool:
    known = range_of(node)
    return known is None or known[0] <= value <= known[1]


def _integer(value: int, found: DuckType) -> exp.Expr:
    return call(f"to{found.base}", str(value))


def _float_modulo(lower: Lower, node: exp.Mod) -> exp.Expr:
    """ClickHouse takes away a rounded multiple; by powers of two nothing is rounded."""
    divisor = node.right
    if not isinstance(divisor, exp.Literal) or not divisor.is_int or int(divisor.name).bit_count() != 1:
        raise refused(node, "% of floats is rounded otherwise in ClickHouse", remedy="cast both sides to DECIMAL")
    return form("l % r", l=double(lower, node.left), r=double(lower, divisor))


def _scaled(lower: Lower, node: exp.Expr, scale: int) -> exp.Expr:
    """A decimal as the whole number of its smallest units."""
    if type_of(node).kind is Kind.DECIMAL:
        wide = cast(lower(node), f"Nullable(Decimal(76, {scale}))")
    else:
        wide = call("toDecimal256", lower(node), scale)
    return call("toInt256", form("x * by", x=wide, by=number(10**scale)))


def _negative(lower: Lower, node: exp.Neg) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.INTEGER and isinstance(node.this, exp.Literal):
        return call(f"to{found.base}", exp.Neg(this=node.this.copy()))
    if found.kind is Kind.INTEGER:
        return checked(exp.Neg(this=call("toInt256", lower(node.this))), found)
    if found.kind in (Kind.DECIMAL, Kind.FLOAT):
        return call("negate", lower(node.this))
    raise refused(node, f"minus of {found}", remedy="cast it to a number")


def _absolute(lower: Lower, node: exp.Abs) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.INTEGER:
        return checked(call("abs", call("toInt256", lower(node.this))), found)
    return call("abs", lower(node.this))


def _sign(lower: Lower, node: exp.Sign) -> exp.Expr:
    x = lower(node.this)
    if type_of(node.this).kind is Kind.FLOAT:
        return cast(form("if(isNaN(x), 0, sign(x))", x=x), type_of(node).clickhouse)
    return cast(call("sign", x), type_of(node).clickhouse)


def _whole(function: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        found = type_of(node)
        if found.kind not in (Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL):
            raise refused(node, f"{function} of {type_of(node.this)}", remedy="cast it to a number")
        check_steady(lower, node)
        return cast(call(function, lower(node.this)), found.clickhouse)

    return build


def _round(lower: Lower, node: exp.Round) -> exp.Expr:
    found, places = type_of(node), _places(node)
    if found.kind is Kind.DECIMAL:
        return cast(call("round", lower(node.this), places), found.clickhouse)
    if found.kind is Kind.INTEGER:
        return _round_integer(lower, node, found, places)
    if found.kind is not Kind.FLOAT:
        raise refused(node, f"round of {type_of(node.this)}", remedy="cast it to a number")
    check_steady(lower, node)
    value = double(lower, node.this)
    if places == 0:
        return rounded(value)
    by = power_of_ten(abs(places))
    up, down = ("x * by", "x / by") if places > 0 else ("x / by", "x * by")
    result = form(down, x=rounded(form(up, x=value, by=by)), by=by)
    return form("if(isFinite(r), r, x)", r=result, x=value)


def _places(node: exp.Round) -> int:
    given = node.args.get("decimals")
    if given is None:
        return 0
    digits = given.this if isinstance(given, exp.Neg) else given
    if not isinstance(digits, exp.Literal) or not digits.is_int:
        raise refused(node, "round to a number of places that is no constant", remedy="write the number")
    return -int(digits.name) if isinstance(given, exp.Neg) else int(digits.name)


def _round_integer(lower: Lower, node: exp.Round, found: DuckType, places: int) -> exp.Expr:
    if places >= 0:
        return lower(node.this)
    unit = 10**-places
    template = "intDiv(toInt256(x) + if(x >= 0, half, 0 - half), unit) * unit"
    return checked(form(template, x=lower(node.this), half=unit // 2, unit=unit), found)


def _is_nan(lower: Lower, node: exp.IsNan) -> exp.Expr:
    return call("isNaN", double(lower, node.this))


def _is_infinite(lower: Lower, node: exp.IsInf) -> exp.Expr:
    return call("isInfinite", _float(lower, node, node.this))


def _is_finite(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    return call("isFinite", _float(lower, node, node.expressions[0]))


def _float(lower: Lower, node: exp.Expr, argument: exp.Expr) -> exp.Expr:
    if type_of(argument).kind is not Kind.FLOAT:
        raise refused(node, "this test is of floats", remedy="drop it")
    return lower(argument)


RULES: dict[type[exp.Expr], Rule] = {
    exp.Add: rule(_arithmetic("+")),
    exp.Sub: rule(_arithmetic("-")),
    exp.Mul: rule(_arithmetic("*")),
    exp.Div: rule(_divide, "typed safe"),
    exp.IntDiv: rule(_whole_division, "typed safe"),
    exp.Mod: rule(_modulo),
    exp.Neg: rule(_negative),
    exp.Abs: rule(_absolute),
    exp.Sign: rule(_sign),
    exp.Floor: rule(_whole("floor")),
    exp.Ceil: rule(_whole("ceil")),
    exp.Trunc: rule(_whole("trunc")),
    exp.Round: rule(_round, "decimals"),
    exp.IsNan: rule(_is_nan),
    exp.IsInf: rule(_is_infinite),
}
FUNCTIONS: dict[str, Rule] = {"isfinite": rule(_is_finite)}
