"""Spark SQL 3.5 and later, where its reference leaves no doubt (spark.apache.org/docs/latest/sql-ref-…, api/sql).

Whether arithmetic that overflows fails or wraps is a setting (sql-ref-ansi-compliance); DuckDB fails. TIMESTAMP is
an instant that shows itself in the session's zone (sql-ref-datatypes): use TIMESTAMP_NTZ.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects import moments
from realtime.dialects.aggregates import argument, giving, wrappers
from realtime.dialects.dialect import EXACT, NUMBERS, Dialect, Translation, cast, form, refusal, rule
from realtime.dialects.numbers import literal_count, nonzero
from realtime.dialects.shared import divided, is_iso, ordered_family
from realtime.transpile.types import DuckType, Kind

_QUOTIENT = "the digits that Spark keeps of a decimal quotient depend on a setting"
_WIDTHS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 20}


def _digits(t: Translation, node: exp.Expr) -> tuple[int, int]:
    """Precision and scale as a decimal (sql-ref-ansi-compliance): a literal has those it is written with."""
    bare = node.unnest()
    if isinstance(bare, exp.Literal):
        whole, _, fraction = bare.name.partition(".")
        return (len(whole.lstrip("0")) + len(fraction) or 1, len(fraction))
    found: DuckType = t.type_of(node)
    return (found.precision, found.scale) if found.kind is Kind.DECIMAL else (_DIGITS.get(found.name, 38), 0)


def _arithmetic(t: Translation, node: exp.Binary) -> exp.Expr:
    """Of numbers; of decimals only as long as 38 digits hold every result, beyond which Spark drops digits."""
    operands = (node.this, node.expression)
    kinds = tuple(t.kind_of(o) for o in operands)
    if isinstance(node.expression, exp.Interval) and not isinstance(node, exp.Mul):
        kind = moments.moment(t, node.this)
        unit = moments.unit_of(t, node.expression, (*moments.UNITS, "week"))
        back = isinstance(node, exp.Sub)
        return moments.shifted(t, node.this, kind, node.expression.this, unit, back=back)
    if not all(k in NUMBERS for k in kinds):
        raise t.refused(node, f"{kinds[0]} {node.key} {kinds[1]} has no equal in DuckDB", "date_add or datediff")
    if Kind.DECIMAL in kinds and Kind.FLOAT not in kinds:
        (p, s), (q, r) = (_digits(t, o) for o in operands)
        needed = p + q + 1 if isinstance(node, exp.Mul) else max(p - s, q - r) + max(s, r) + 1
        if needed > 38:
            raise t.refused(node, "Spark drops digits where a decimal would need more than 38", "use smaller decimals")
    for operand, other in (operands, operands[::-1]):
        if t.type_of(operand).name in ("TINYINT", "SMALLINT") and isinstance(other.unnest(), exp.Literal):
            operand.replace(cast(operand, "INTEGER"))
    return node


def _division(t: Translation, node: exp.Div) -> exp.Expr:
    """api/sql, ``/``: always floating point, but of decimals."""
    nonzero(t, node)
    return _doubles(t, node)


def _try_divide(t: Translation, node: exp.SafeDivide) -> exp.Expr:
    """api/sql, try_divide: NULL where the divisor is 0."""
    _doubles(t, node)
    return form("(a / NULLIF(b, 0))", a=cast(node.this, "DOUBLE"), b=cast(node.expression, "DOUBLE"))


def _doubles(t: Translation, node: exp.Div | exp.SafeDivide) -> exp.Expr:
    kinds = (t.kind_of(node.this), t.kind_of(node.expression))
    if Kind.DECIMAL in kinds and Kind.FLOAT not in kinds:
        raise t.refused(node, _QUOTIENT, "CAST one side to DOUBLE")
    return divided(t, node)


def _whole_division(t: Translation, node: exp.IntDiv) -> exp.Expr:
    """api/sql, div: of integers a bigint."""
    _integers(t, node)
    return cast(form("a // b", a=node.this, b=node.expression), "BIGINT")


def _remainder(t: Translation, node: exp.Mod) -> exp.Expr:
    """api/sql, ``%``: the dividend's sign."""
    _integers(t, node)
    return form("(a % b)", a=node.this, b=node.expression)


def _integers(t: Translation, node: exp.Binary) -> None:
    if any(t.kind_of(n) is not Kind.INTEGER for n in (node.this, node.expression)):
        raise t.refused(node, "it is the same in DuckDB for integers only", "CAST both sides to BIGINT")
    nonzero(t, node)


def _sum(t: Translation, node: exp.Sum) -> exp.Expr:
    """Of integers a bigint, of decimal(p, s) a decimal(p + 10, s)."""
    found = t.type_of(argument(node))
    if found.kind is Kind.INTEGER:
        return giving(node, "BIGINT")
    if found.kind is Kind.DECIMAL:
        return giving(node, f"DECIMAL({min(found.precision + 10, 38)}, {found.scale})")
    return node


def _average(t: Translation, node: exp.Avg) -> exp.Expr:
    if t.kind_of(argument(node)) is Kind.DECIMAL:
        raise t.refused(node, _QUOTIENT, "avg(CAST(x AS DOUBLE))")
    return node


def _round(t: Translation, node: exp.Round) -> exp.Expr:
    """api/sql, round: HALF_UP, that is away from zero, as in DuckDB; digits of doubles are inexact."""
    kind, decimals = t.kind_of(node.this), node.args.get("decimals")
    if kind is not Kind.DECIMAL:
        raise t.refused(node, "digits of a double are rounded by its binary value", "round a DECIMAL(p, s)")
    if decimals is None:
        return form("round(x)", x=node.this)
    literal_count(t, decimals, 0, "the number of digits")
    return form("round(x, n)", x=node.this, n=decimals)


def _whole(t: Translation, node: exp.Floor | exp.Ceil) -> exp.Expr:
    """api/sql, floor: of a double a bigint, which a double beyond it is not; of decimals a decimal."""
    if t.kind_of(node.this) is not Kind.DECIMAL or node.args.get("decimals") is not None:
        raise t.refused(node, "Spark makes a bigint of it", "round a DECIMAL(p, s)")
    return type(node)(this=node.this.copy())


def _cast(t: Translation, node: exp.Cast | exp.TryCast) -> exp.Expr:
    """Casts that can't fail: with a setting they are errors, without it NULL. (sqlglot has one node for both.)"""
    value, to = node.this, node.args["to"]
    literal = isinstance(value, exp.Literal) and value.is_string
    kind = Kind.TEXT if literal else t.kind_of(value)
    wanted = t.duckdb_type(node)
    family = wanted.partition("(")[0]
    as_literal = (family == "DATE" and is_iso(value, Kind.DATE)) or (
        family == "TIMESTAMP" and is_iso(value, Kind.TIMESTAMP)
    )
    exact = family == "DECIMAL" or family in _WIDTHS
    fits = not exact or kind not in EXACT or _fits(t, value, wanted, to)
    if not as_literal and (family not in _CASTS.get(kind, ()) or not fits or (family == "VARCHAR" and to.expressions)):
        raise t.refused(
            node, f"{kind} becomes {to.sql('spark')} differently in DuckDB, or may fail", _CAST_REMEDIES.get(kind, "")
        )
    return cast(value, wanted)


def _fits(t: Translation, value: exp.Expr, wanted: str, to: exp.DataType) -> bool:
    """Whether every exact number of ``value``'s type is one of the type ``wanted``."""
    found = t.type_of(value)
    if wanted in _WIDTHS:
        return found.name in _WIDTHS[: _WIDTHS.index(wanted) + 1]
    p, s = _digits(t, value)
    precision, scale = [*(int(n.name) for n in to.expressions), 0][:2] if to.expressions else (10, 0)
    return scale >= s and precision - scale >= p - s


_CASTS: dict[Kind, tuple[str, ...]] = {
    Kind.INTEGER: (*_WIDTHS, "DECIMAL", "DOUBLE", "VARCHAR"),
    Kind.DECIMAL: ("DECIMAL", "DOUBLE"),
    Kind.FLOAT: ("DOUBLE",),
    Kind.TEXT: ("VARCHAR",),
    Kind.BOOLEAN: (*_WIDTHS, "BOOLEAN", "VARCHAR"),
    Kind.DATE: ("DATE", "TIMESTAMP", "VARCHAR"),
    Kind.TIMESTAMP: ("DATE", "TIMESTAMP"),
    Kind.TIMESTAMPTZ: ("TIMESTAMPTZ",),
    Kind.NULL: (*_WIDTHS, "DECIMAL", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR", "BOOLEAN"),
}
_CAST_REMEDIES = {
    Kind.TEXT: "declare the source's column with its own type",
    Kind.TIMESTAMPTZ: "use TIMESTAMP_NTZ",
    Kind.INTEGER: "cast to a type that holds every value",
    Kind.DECIMAL: "cast to a type that holds every value; ROUND(x, n) first",
}


def _day(t: Translation, node: exp.TsOrDsToDate) -> exp.Expr:
    """api/sql, to_date; sqlglot also puts it around what functions of dates take."""
    kind = moments.moment(t, node.this)
    return node.this.copy() if kind is Kind.DATE else cast(node.this, "DATE")


def _trunc(t: Translation, node: exp.DateTrunc) -> exp.Expr:
    """api/sql, trunc: a date; weeks begin on Monday."""
    moments.moment(t, node.this)
    unit = moments.unit_of(t, node, ("year", "quarter", "month", "week"))
    return cast(exp.TimestampTrunc(this=node.this.copy(), unit=exp.var(unit.upper())), "DATE")


def _date_diff(t: Translation, node: exp.DateDiff) -> exp.Expr:
    """api/sql, datediff: days."""
    for end in (node.this, node.expression):
        moments.moment(t, end, (Kind.DATE,))
    if node.args.get("unit") is not None:
        raise t.refused(node, "other units than days are counted differently", "datediff(end, start), in days")
    return moments.boundaries(t, node.this, node.expression, "day")


def _date_add(t: Translation, node: exp.TsOrDsAdd) -> exp.Expr:
    """api/sql, date_add; sqlglot writes date_sub as days times -1."""
    count = node.expression.unnest()
    back = isinstance(count, exp.Mul)
    kind = moments.moment(t, node.this, (Kind.DATE,))
    return moments.shifted(t, node.this, kind, count.this if back else count, "day", back=back)


def _add_months(t: Translation, node: exp.AddMonths) -> exp.Expr:
    """api/sql, add_months: too short a month gives its last day (sql-migration-guide, 2.4 to 3.0)."""
    kind = moments.moment(t, node.this, (Kind.DATE,))
    return moments.shifted(t, node.this, kind, node.expression, "month", back=False)


_PARTS = {
    "year": "year", "quarter": "quarter", "month": "month", "day": "day", "dayofmonth": "day", "hour": "hour",
    "minute": "minute", "dayofyear": "doy", "weekofyear": "week", "week": "week", "doy": "doy",
}  # fmt: skip


def _part(t: Translation, node: exp.Func) -> exp.Expr:
    """api/sql, year, hour, weekofyear …: whole numbers; weeks are those of ISO 8601, Sunday is day 1."""
    extract = isinstance(node, exp.Extract)
    name = node.this.name.lower() if extract else _NAMES.get(type(node), type(node).__name__.lower())
    value = node.expression if extract else node.this
    kind = moments.moment(t, value)
    if name == "dayofweek":
        return form("(x + 1)", x=moments.part(t, value, "dow"))
    if name not in _PARTS or (kind is Kind.DATE and name in ("hour", "minute")):
        raise t.refused(node, f"{name} has no equal in DuckDB", f"use one of {', '.join(['dayofweek', *_PARTS])}")
    return moments.part(t, value, _PARTS[name])


_NAMES: dict[type[exp.Expr], str] = {exp.DayOfMonth: "day", exp.WeekOfYear: "week"}


def _greatest(t: Translation, node: exp.Greatest | exp.Least) -> exp.Expr:
    """api/sql, greatest: NULLs are left out, as in DuckDB."""
    operands = [node.this, *node.expressions]
    ordered_family(t, node, operands)
    return type(node)(this=operands[0].copy(), expressions=[o.copy() for o in operands[1:]], ignore_nulls=True)


TYPES: dict[exp.DType, str | tuple[str, str]] = {
    exp.DType.TINYINT: "TINYINT",
    exp.DType.SMALLINT: "SMALLINT",
    exp.DType.INT: "INTEGER",
    exp.DType.BIGINT: "BIGINT",
    exp.DType.DOUBLE: "DOUBLE",
    exp.DType.TEXT: "VARCHAR",
    exp.DType.VARCHAR: "VARCHAR",
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.DATE: "DATE",
    exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
    exp.DType.TIMESTAMP: "TIMESTAMPTZ",
    exp.DType.TIMESTAMPTZ: "TIMESTAMPTZ",
    exp.DType.TIMESTAMPLTZ: "TIMESTAMPTZ",
    exp.DType.FLOAT: ("FLOAT is added up in other steps", "use DOUBLE"),
    exp.DType.CHAR: ("CHAR(n) is padded with blanks", "use STRING"),
}

SPARK = Dialect(
    name="Spark",
    sqlglot="spark",
    keeps_case=True,
    types=TYPES,
    unscaled="DECIMAL(10, 0)",
    rules={
        **wrappers(),
        exp.Add: rule(_arithmetic),
        exp.Sub: rule(_arithmetic),
        exp.Mul: rule(_arithmetic),
        exp.Div: rule(_division, "typed safe"),
        exp.SafeDivide: rule(_try_divide),
        exp.IntDiv: rule(_whole_division),
        exp.Mod: rule(_remainder),
        exp.Sum: rule(_sum),
        exp.Avg: rule(_average),
        exp.Round: rule(_round, "decimals"),
        exp.Floor: rule(_whole, "decimals"),
        exp.Ceil: rule(_whole, "decimals"),
        exp.Cast: rule(_cast, "to"),
        exp.TryCast: rule(_cast, "to safe requires_string"),
        exp.TsOrDsToDate: rule(_day, "safe"),
        exp.DateTrunc: rule(_trunc, "unit"),
        exp.TimestampTrunc: refusal("date_trunc gives an instant in the session's zone", "trunc(x, 'MONTH'), a date"),
        exp.DateDiff: rule(_date_diff, "unit"),
        exp.TsOrDsAdd: rule(_date_add, "unit"),
        exp.AddMonths: rule(_add_months),
        exp.Extract: rule(_part),
        **{n: rule(_part) for n in (exp.Year, exp.Quarter, exp.Month, exp.Day, exp.DayOfMonth, exp.Hour, exp.Minute)},
        exp.DayOfYear: rule(_part),
        exp.DayOfWeek: rule(_part),
        exp.WeekOfYear: rule(_part),
        exp.Greatest: rule(_greatest, "ignore_nulls"),
        exp.Least: rule(_greatest, "ignore_nulls"),
        exp.Group: rule(args="all"),
        exp.Qualify: refusal("Spark has no QUALIFY", "filter in a query around it"),
    },
)
