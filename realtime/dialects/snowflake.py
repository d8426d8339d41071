"""Snowflake, where its documentation leaves no doubt (docs.snowflake.com/en/sql-reference/…).

A value of DuckDB's HUGEINT stands for a NUMBER(38, 0), which every integer type of Snowflake is
(data-types-numeric). What a session's parameters decide (weeks, formats, time zones) is refused.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects import moments
from realtime.dialects.aggregates import argument, wrappers
from realtime.dialects.dialect import EXACT, NUMBERS, Dialect, Translation, cast, form, refusal, rule
from realtime.dialects.numbers import literal_count, nonzero, scale_of
from realtime.dialects.shared import divided, either, greatest_or_null, is_iso
from realtime.transpile.types import Kind

_FIXED = "Snowflake's page on arithmetic does not say how it rounds a quotient of NUMBERs"


def _arithmetic(t: Translation, node: exp.Binary) -> exp.Expr:
    """operators-arithmetic: NUMBERs add to the larger scale, a date less a date is a number of days;
    data-types-datetime, Simple arithmetic for dates: days are added to and subtracted from dates."""
    left, right = node.this, node.expression
    if isinstance(right, exp.Interval) and not isinstance(node, exp.Mul):
        kind = moments.moment(t, left)
        unit = moments.unit_of(t, right, moments.UNITS)
        return moments.shifted(t, left, kind, right.this, unit, back=isinstance(node, exp.Sub))
    kinds = (t.kind_of(left), t.kind_of(right))
    if all(k in NUMBERS for k in kinds):
        if isinstance(node, exp.Mul) and Kind.FLOAT not in kinds:
            _check_scale(t, node)
        return node
    if not isinstance(node, exp.Mul) and kinds == (Kind.DATE, Kind.INTEGER):
        return (
            form("(x + y)", x=left, y=cast(right, "INTEGER"))
            if isinstance(node, exp.Add)
            else form("(x - y)", x=left, y=cast(right, "INTEGER"))
        )
    if isinstance(node, exp.Sub) and kinds == (Kind.DATE, Kind.DATE):
        return node
    raise t.refused(node, f"{kinds[0]} {node.key} {kinds[1]} has no equal in DuckDB", "add explicit CASTs")


def _check_scale(t: Translation, node: exp.Binary) -> None:
    """operators-arithmetic, Multiplication: the scale is min(S1 + S2, max(S1, S2, 12))."""
    scales = (scale_of(t, node.this), scale_of(t, node.expression))
    if sum(scales) > max(*scales, 12):
        raise t.refused(node, "Snowflake keeps 12 digits of a product, DuckDB all", "round the operands first")


def _division(t: Translation, node: exp.Div) -> exp.Expr:
    nonzero(t, node)
    if Kind.FLOAT not in (t.kind_of(node.this), t.kind_of(node.expression)):
        raise t.refused(node, _FIXED, "cast one side to FLOAT")
    return divided(t, node)


def _iff(t: Translation, node: exp.If) -> exp.Expr:
    """functions/div0null gives 0 whatever is divided, and elsewhere one reads that NULL stays NULL."""
    asked, otherwise = node.this.unnest(), node.args.get("false")
    known = isinstance(asked, exp.Or) and isinstance(asked.right, exp.Is) and isinstance(asked.left, exp.EQ)
    quotient = otherwise is not None and isinstance(otherwise.unnest(), exp.Div)
    # sqlglot's parser writes DIV0NULL so.
    if known and quotient and not isinstance(node.parent, exp.Case):
        remedy = "CASE WHEN b = 0 OR b IS NULL THEN 0 ELSE a / b END, or DIV0(a, b)"
        raise t.refused(node, "what DIV0NULL gives of NULL is not sure", remedy)
    return either(t, node)


def _remainder(t: Translation, node: exp.Mod) -> exp.Expr:
    """functions/mod: of a division that truncates, so with the dividend's sign."""
    if any(t.kind_of(n) not in EXACT for n in (node.this, node.expression)):
        raise t.refused(node, "a remainder of floats differs", "cast both sides to NUMBER")
    nonzero(t, node)
    return form("(a % b)", a=node.this, b=node.expression)


def _sum(t: Translation, node: exp.Sum) -> exp.Expr:
    """functions/sum: of a NUMBER a NUMBER as large or larger, which has no other digits; of FLOAT a FLOAT."""
    if t.kind_of(argument(node)) not in NUMBERS:
        raise t.refused(node, "the sum of what is no number", "add an explicit CAST")
    return node


def _average(t: Translation, node: exp.Avg) -> exp.Expr:
    if t.kind_of(argument(node)) is not Kind.FLOAT:
        raise t.refused(node, _FIXED, "AVG(x::FLOAT)")
    return node


def _round(t: Translation, node: exp.Round) -> exp.Expr:
    """functions/round: halves away from zero, as in DuckDB; with digits only of NUMBERs, for floats are inexact."""
    decimals = node.args.get("decimals")
    if decimals is None:
        return form("round(x)", x=node.this)
    if t.kind_of(node.this) not in EXACT:
        raise t.refused(node, "digits of a float are rounded by its binary value", "round a NUMBER(p, s)")
    literal_count(t, decimals, 0, "the number of digits")
    return form("round(x, n)", x=node.this, n=decimals)


def _cast(t: Translation, node: exp.Cast) -> exp.Expr:
    """data-type-conversion: casts that neither round nor depend on a format."""
    value = node.this
    literal = isinstance(value, exp.Literal) and value.is_string
    kind = Kind.TEXT if literal else t.kind_of(value)
    wanted = t.duckdb_type(node)
    family = wanted.partition("(")[0]
    as_literal = (family == "DATE" and is_iso(value, Kind.DATE)) or (
        family == "TIMESTAMP" and is_iso(value, Kind.TIMESTAMP)
    )
    allowed = as_literal or family in _CASTS.get(kind, ())
    if family in ("DECIMAL", "HUGEINT") and kind in EXACT and scale_of(t, value) > _scale(node.to):
        raise t.refused(node, "the cast rounds, and its page does not say how", "ROUND(x, n) first")
    if not allowed or (wanted == "VARCHAR" and (node.to.expressions or (kind is Kind.DECIMAL and scale_of(t, value)))):
        shown = node.to.sql("snowflake")
        raise t.refused(node, f"{kind} becomes {shown} differently in DuckDB", _CAST_REMEDIES.get(kind, ""))
    return cast(value, wanted)


_CASTS: dict[Kind, tuple[str, ...]] = {
    Kind.INTEGER: ("HUGEINT", "DECIMAL", "DOUBLE", "VARCHAR"),
    Kind.DECIMAL: ("HUGEINT", "DECIMAL", "DOUBLE", "VARCHAR"),
    Kind.FLOAT: ("DOUBLE",),
    Kind.TEXT: ("DOUBLE", "VARCHAR"),
    Kind.BOOLEAN: ("HUGEINT", "BOOLEAN", "VARCHAR"),
    Kind.DATE: ("DATE", "TIMESTAMP"),
    Kind.TIMESTAMP: ("DATE", "TIMESTAMP"),
    Kind.TIMESTAMPTZ: ("TIMESTAMPTZ",),
    Kind.NULL: ("HUGEINT", "DECIMAL", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR", "BOOLEAN"),
}
_CAST_REMEDIES = {
    Kind.TEXT: "declare the source's column with its own type",
    Kind.FLOAT: "keep it FLOAT",
    Kind.DATE: "keep it a date: formats are parameters of the session",
    Kind.TIMESTAMP: "keep it a timestamp: formats are parameters of the session",
    Kind.TIMESTAMPTZ: "use TIMESTAMP_NTZ",
}


def _scale(to: exp.DataType) -> int:
    return int(to.expressions[1].name) if len(to.expressions) > 1 else 0


def _to_date(t: Translation, node: exp.TsOrDsToDate) -> exp.Expr:
    """functions/to_date: of a date or a timestamp its day."""
    moments.moment(t, node.this)
    return cast(node.this, "DATE")


def _date_trunc(t: Translation, node: exp.TimestampTrunc) -> exp.Expr:
    """functions/date_trunc: a date stays one. When a week starts is a parameter."""
    kind = moments.moment(t, node.this)
    units = moments.UNITS[:4] if kind is Kind.DATE else moments.UNITS
    return moments.truncated(node.this, moments.unit_of(t, node, units), kind)


def _date_diff(t: Translation, node: exp.DateDiff) -> exp.Expr:
    """functions/datediff: counts boundaries, as DuckDB's date_diff."""
    unit = moments.unit_of(t, node, moments.UNITS)
    ends = (node.this, node.expression)
    kinds = {moments.moment(t, e) for e in ends}
    if kinds != {Kind.DATE} or unit in ("hour", "minute", "second"):
        ends = (cast(ends[0], "TIMESTAMP"), cast(ends[1], "TIMESTAMP"))
    return moments.boundaries(t, *ends, unit)


def _date_add(t: Translation, node: exp.DateAdd) -> exp.Expr:
    """functions/dateadd: a date stays one when days or more are added; functions/add_months: too short a month gives
    its last day."""
    kind = moments.moment(t, node.this)
    unit = moments.unit_of(t, node, (*moments.UNITS, "week"))
    return moments.shifted(t, node.this, kind, node.expression, unit, back=False)


_PARTS = {
    "year": "year", "quarter": "quarter", "month": "month", "day": "day", "hour": "hour", "minute": "minute",
    "second": "second", "dayofyear": "doy", "dayofweekiso": "isodow", "dayofweek_iso": "isodow", "weekiso": "week",
    "week_iso": "week", "weekofyear": "week",
}  # fmt: skip


def _part(t: Translation, node: exp.Expr, value: exp.Expr, name: str) -> exp.Expr:
    if name not in _PARTS:
        known = ", ".join(p for p in _PARTS if p != "weekofyear")
        raise t.refused(node, f"{name} depends on the session's parameters or is unknown", f"use one of {known}")
    moments.moment(t, value, (Kind.TIMESTAMP,) if name in ("hour", "minute", "second") else _MOMENTS)
    return moments.part(t, value, _PARTS[name])


_MOMENTS = (Kind.DATE, Kind.TIMESTAMP)


def _extract(t: Translation, node: exp.Extract) -> exp.Expr:
    """functions/extract: whole numbers; those of ISO weeks depend on no parameter."""
    name = node.this.name.lower()
    return _part(t, node, node.expression, "week" if name == "weekofyear" else name)


def _named_part(t: Translation, node: exp.Func) -> exp.Expr:
    """functions/year, and functions/hour-minute-second. sqlglot calls WEEKISO WeekOfYear, and WEEKOFYEAR Week."""
    return _part(t, node, node.this, type(node).__name__.lower())


def _decode(t: Translation, node: exp.DecodeCase) -> exp.Expr:
    """functions/decode: NULL matches NULL."""
    value, *rest = node.expressions
    case = exp.Case(ifs=[])
    while len(rest) > 1:
        sought, result, *rest = rest
        plain = isinstance(sought, exp.Null)
        matches = (exp.Is if plain else exp.NullSafeEQ)(this=value.copy(), expression=sought.copy())
        case.append("ifs", exp.If(this=matches, true=result.copy()))
    if rest:
        case.set("default", rest[0].copy())
    return case


def _listagg(t: Translation, node: exp.GroupConcat) -> exp.Expr:
    """functions/listagg: empty text, where DuckDB has NULL, if there is nothing to list."""
    if not isinstance(node.this, exp.Order):
        raise t.refused(node, "without ORDER BY the order is left to chance", "LISTAGG(…) WITHIN GROUP (ORDER BY key)")
    if isinstance(node.parent, exp.Window):
        raise t.refused(node, "LISTAGG in a window has no equal", "group in a query of its own")
    separator = node.args.get("separator") or exp.Literal.string("")
    listed = exp.GroupConcat(this=node.this.copy(), separator=separator.copy())
    return exp.Coalesce(this=listed, expressions=[exp.Literal.string("")])


def _edge(t: Translation, node: exp.FirstValue | exp.LastValue) -> exp.Expr:
    """functions/first_value: without a frame it sees the whole partition, elsewhere up to the current row."""
    if not isinstance(node.parent, exp.Window) or node.parent.args.get("spec") is None:
        raise t.refused(
            node, "Snowflake's frame for it is another where none is written",
            "write ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        )  # fmt: skip
    return node


_SEMI = ("VARIANT, OBJECT and ARRAY hold what has no type", "declare the fields as columns of the source")
TYPES: dict[exp.DType, str | tuple[str, str]] = {
    exp.DType.TINYINT: "HUGEINT",
    exp.DType.SMALLINT: "HUGEINT",
    exp.DType.INT: "HUGEINT",
    exp.DType.BIGINT: "HUGEINT",
    exp.DType.FLOAT: "DOUBLE",
    exp.DType.DOUBLE: "DOUBLE",
    exp.DType.TEXT: "VARCHAR",
    exp.DType.VARCHAR: "VARCHAR",
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.DATE: "DATE",
    exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
    exp.DType.TIMESTAMPLTZ: "TIMESTAMPTZ",
    exp.DType.TIMESTAMPTZ: (
        "TIMESTAMP_TZ keeps an offset, which DuckDB does not",
        "use TIMESTAMP_LTZ or TIMESTAMP_NTZ",
    ),
    exp.DType.TIMESTAMP: ("which type TIMESTAMP is depends on the session's parameters", "use TIMESTAMP_NTZ"),
    exp.DType.VARIANT: _SEMI,
    exp.DType.OBJECT: _SEMI,
    exp.DType.ARRAY: _SEMI,
}
_WEEK = "when a week starts is a parameter of the session"

SNOWFLAKE = Dialect(
    name="Snowflake",
    sqlglot="snowflake",
    types=TYPES,
    unscaled="HUGEINT",
    whole="HUGEINT",
    rules={
        **wrappers(),
        exp.Add: rule(_arithmetic),
        exp.Sub: rule(_arithmetic),
        exp.Mul: rule(_arithmetic),
        exp.Div: rule(_division, "typed safe"),
        exp.Mod: rule(_remainder),
        exp.Sum: rule(_sum),
        exp.Avg: rule(_average),
        exp.Round: rule(_round, "decimals casts_non_integer_decimals"),
        exp.Cast: rule(_cast, "to"),
        exp.TsOrDsToDate: rule(_to_date, "safe"),
        exp.TimestampTrunc: rule(_date_trunc, "unit input_type_preserved"),
        exp.DateDiff: rule(_date_diff, "unit date_part_boundary"),
        exp.DateAdd: rule(_date_add, "unit"),
        exp.Extract: rule(_extract),
        **{n: rule(_named_part) for n in (exp.Year, exp.Quarter, exp.Month, exp.Day, exp.Hour, exp.Minute, exp.Second)},
        exp.DayOfYear: rule(_named_part),
        exp.DayOfWeekIso: rule(_named_part),
        exp.DayOfWeek: refusal(_WEEK, "DAYOFWEEKISO(x)"),
        exp.WeekOfYear: rule(_named_part),
        exp.Week: refusal(_WEEK, "WEEKISO(x)"),
        exp.DecodeCase: rule(_decode),
        exp.If: rule(_iff, "true false"),
        exp.Greatest: rule(greatest_or_null, "ignore_nulls"),
        exp.Least: rule(greatest_or_null, "ignore_nulls"),
        exp.GroupConcat: rule(_listagg, "separator"),
        exp.FirstValue: rule(_edge),
        exp.LastValue: rule(_edge),
        exp.Group: rule(args="all"),
        exp.TryCast: refusal(
            "which text is a number is not the same in DuckDB", "declare the column with its own type"
        ),
    },
)
