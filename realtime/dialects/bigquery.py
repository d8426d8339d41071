"""BigQuery's GoogleSQL, where its reference leaves no doubt (docs.cloud.google.com/bigquery, standard-sql/…).

INT64 is DuckDB's BIGINT, NUMERIC a DECIMAL, DATETIME a TIMESTAMP and TIMESTAMP, an instant that shows itself in
UTC (data-types), a TIMESTAMPTZ. A FLOAT64 that is NaN is equal to nothing (operators, Comparison operators), but
not distinct from another (operators, IS DISTINCT FROM).
"""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects import moments
from realtime.dialects.aggregates import argument, giving, wrappers
from realtime.dialects.dialect import EXACT, NUMBERS, Build, Dialect, Rule, Translation, cast, form, refusal, rule
from realtime.dialects.numbers import literal_count, nonzero, scale_of
from realtime.dialects.shared import COMPARED, divided, greatest_or_null, is_iso, ordered_family, same_family
from realtime.transpile.types import Kind

_QUOTIENT = "the reference does not say how many digits a NUMERIC quotient keeps"
_MOMENTS = (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ)


def _literal(t: Translation, node: exp.Literal) -> exp.Expr:
    """lexical, Floating point literals: a number with a point or an exponent is a FLOAT64."""
    if node.is_string or node.name.isdigit():
        return node
    return cast(node, "DOUBLE")


def _arithmetic(t: Translation, node: exp.Binary) -> exp.Expr:
    """operators, Arithmetic operators: of INT64 an INT64, with a FLOAT64 a FLOAT64, else a NUMERIC."""
    operands = (node.this, node.expression)
    kinds = tuple(t.kind_of(o) for o in operands)
    if not all(k in NUMBERS for k in kinds):
        raise t.refused(node, f"{kinds[0]} {node.key} {kinds[1]} has no equal in DuckDB", "DATE_ADD or DATE_DIFF")
    _check_literals(t, node, list(operands))
    if isinstance(node, exp.Mul) and Kind.FLOAT not in kinds and sum(scale_of(t, o) for o in operands) > 9:
        raise t.refused(
            node, "NUMERIC keeps 9 digits of a product, DuckDB all", "declare NUMERIC(p, s) of fewer digits"
        )
    return node


def _check_literals(t: Translation, node: exp.Expr, operands: list[exp.Expr]) -> None:
    """conversion_rules: a floating point literal beside a NUMERIC becomes one."""
    literal = any(isinstance(o.unnest(), exp.Cast) and isinstance(o.unnest().this, exp.Literal) for o in operands)
    if literal and {t.kind_of(o) for o in operands} >= {Kind.DECIMAL, Kind.FLOAT}:
        raise t.refused(node, "a FLOAT64 literal beside a NUMERIC becomes one", "write NUMERIC '1.5'")


def _division(t: Translation, node: exp.Div) -> exp.Expr:
    """operators: of INT64 and of FLOAT64 it is a FLOAT64."""
    nonzero(t, node)
    if Kind.DECIMAL in (t.kind_of(node.this), t.kind_of(node.expression)):
        raise t.refused(node, _QUOTIENT, "CAST one side to FLOAT64 and the other too")
    return divided(t, node)


def _safe_divide(t: Translation, node: exp.SafeDivide) -> exp.Expr:
    """mathematical_functions, SAFE_DIVIDE: NULL where the division would fail, by zero or because no FLOAT64 is as
    large (operators: infinity comes of infinity only)."""
    if Kind.DECIMAL in (t.kind_of(node.this), t.kind_of(node.expression)):
        raise t.refused(node, _QUOTIENT, "CAST both sides to FLOAT64")
    a, b = cast(node.this, "DOUBLE"), cast(node.expression, "DOUBLE")
    return form("CASE WHEN isinf(a / NULLIF(b, 0)) AND isfinite(a) THEN NULL ELSE a / NULLIF(b, 0) END", a=a, b=b)


def _whole_division(t: Translation, node: exp.IntDiv) -> exp.Expr:
    """mathematical_functions, DIV: of integers."""
    _integers(t, node)
    return form("(a // b)", a=node.this, b=node.expression)


def _remainder(t: Translation, node: exp.Mod) -> exp.Expr:
    """mathematical_functions, MOD: the result has the sign of X."""
    _integers(t, node)
    return form("(a % b)", a=node.this, b=node.expression)


def _integers(t: Translation, node: exp.Binary) -> None:
    if any(t.kind_of(n) is not Kind.INTEGER for n in (node.this, node.expression)):
        raise t.refused(node, "it is the same in DuckDB for INT64 only", "CAST both sides to INT64")
    nonzero(t, node)


def _comparison(t: Translation, node: exp.Binary) -> exp.Expr:
    """operators, Comparison operators: with NaN all are false, but ``!=``, which is true."""
    operands = [node.this, node.expression]
    (same_family if isinstance(node, (exp.EQ, exp.NEQ)) else ordered_family)(t, node, operands)
    doubles = [o for o in operands if not isinstance(o.unnest(), exp.Literal) and t.kind_of(o) is Kind.FLOAT]
    _check_literals(t, node, [o for o in operands if not isinstance(o, exp.Literal) and not isinstance(o, exp.Null)])
    doubles = [d for d in doubles if not (isinstance(d, exp.Cast) and isinstance(d.this, exp.Literal))]
    if not doubles:
        return node
    asked: exp.Expr = form("isnan(x)", x=doubles[0])
    for double in doubles[1:]:
        asked = form("a OR isnan(x)", a=asked, x=double)
    return form(
        "CASE WHEN a IS NULL OR b IS NULL THEN NULL WHEN asked THEN otherwise ELSE compared END",
        a=node.this, b=node.expression, asked=asked, otherwise=exp.Boolean(this=isinstance(node, exp.NEQ)),
        compared=node,
    )  # fmt: skip


def _one_float(build: Build) -> Rule:
    """``build``, for at most one float that is no literal: two that are NaN are equal in DuckDB, and here are not."""

    def checked(t: Translation, node: exp.Expr) -> exp.Expr:
        values = [o for o in node.iter_expressions() if not isinstance(o, (exp.If, exp.Query, exp.Literal, exp.Null))]
        values += [i.this for i in node.args.get("ifs") or [] if node.this is not None]
        values = [v for v in values if not (isinstance(v, exp.Cast) and isinstance(v.this, exp.Literal))]
        compared = [v for v in values if v.arg_key != "default" and not isinstance(v, (exp.Literal, exp.Null))]
        if sum(t.kind_of(v) is Kind.FLOAT for v in compared) > 1 and (node.this is not None):
            raise t.refused(node, "two FLOAT64 that are NaN are equal in DuckDB", "compare them with =")
        return build(t, node)

    return Rule(checked, _FLOAT_ARGUMENTS)


_FLOAT_ARGUMENTS = frozenset({"query", "negate", "ifs", "default"})


def _no_floats(t: Translation, node: exp.Expr) -> exp.Expr:
    """What compares, orders or picks by value: NaN has another place in BigQuery than in DuckDB."""
    operands = [o for o in node.iter_expressions() if not isinstance(o, (exp.Literal, exp.Null))]
    if any(t.kind_of(o) is Kind.FLOAT for o in operands):
        raise t.refused(node, "NaN of FLOAT64 compares otherwise in DuckDB", "CAST it to NUMERIC, or use = and <")
    ordered_family(t, node, [o for o in node.iter_expressions() if not isinstance(o, exp.Query)])
    return node


def _ordered(t: Translation, node: exp.Ordered) -> exp.Expr:
    """query-syntax, ORDER BY: NaN comes before other numbers, in DuckDB after them."""
    if t.kind_of(node.this) is Kind.FLOAT:
        raise t.refused(
            node, "NaN of FLOAT64 is the smallest number here and the largest in DuckDB", "order by NUMERIC"
        )
    ordered_family(t, node, [node.this])
    return node


def _sum(t: Translation, node: exp.Sum) -> exp.Expr:
    """aggregate_functions, SUM: of INT64 an INT64."""
    kind = t.kind_of(argument(node))
    return giving(node, "BIGINT") if kind is Kind.INTEGER else node


def _average(t: Translation, node: exp.Avg) -> exp.Expr:
    """aggregate_functions, AVG: of INT64 a FLOAT64."""
    if t.kind_of(argument(node)) is Kind.DECIMAL:
        raise t.refused(node, _QUOTIENT, "AVG(CAST(x AS FLOAT64))")
    return node


def _round(t: Translation, node: exp.Round) -> exp.Expr:
    """mathematical_functions, ROUND: halves away from zero, as in DuckDB; of an INT64 it is a FLOAT64."""
    kind, decimals = t.kind_of(node.this), node.args.get("decimals")
    value = cast(node.this, "DOUBLE") if kind is Kind.INTEGER else node.this
    if decimals is None:
        return form("round(x)", x=value)
    if kind is not Kind.DECIMAL:
        raise t.refused(node, "digits of a FLOAT64 are rounded by its binary value", "round a NUMERIC")
    literal_count(t, decimals, 0, "the number of digits")
    return form("round(x, n)", x=value, n=decimals)


def _whole(t: Translation, node: exp.Floor | exp.Ceil) -> exp.Expr:
    """mathematical_functions, FLOOR: of an INT64 it is a FLOAT64."""
    kind = t.kind_of(node.this)
    if kind not in NUMBERS:
        raise t.refused(node, "only numbers are rounded", "add an explicit CAST")
    return type(node)(this=cast(node.this, "DOUBLE") if kind is Kind.INTEGER else node.this.copy())


def _cast(t: Translation, node: exp.Cast) -> exp.Expr:
    """conversion_functions, CAST: to INT64 halves go away from zero; what depends on a format is refused."""
    value = node.this
    literal = isinstance(value, exp.Literal) and value.is_string
    kind = Kind.TEXT if literal else t.kind_of(value)
    wanted = t.duckdb_type(node)
    family = wanted.partition("(")[0]
    if family in ("TIMESTAMP", "TIMESTAMPTZ") and is_iso(value, Kind.TIMESTAMP):
        # A literal without a zone is in UTC.
        moment = cast(value, "TIMESTAMP")
        return moment if family == "TIMESTAMP" else cast(moment, "TIMESTAMPTZ")
    as_literal = literal and family == "DECIMAL"
    if (not as_literal and family not in _CASTS.get(kind, ())) or (family == "VARCHAR" and node.to.expressions):
        raise t.refused(
            node, f"{kind} becomes {node.to.sql('bigquery')} differently in DuckDB", _CAST_REMEDIES.get(kind, "")
        )
    if family == "DECIMAL" and kind in EXACT and scale_of(t, value) > 9:
        raise t.refused(node, "NUMERIC keeps 9 digits", "ROUND(x, 9) first")
    if kind is Kind.FLOAT and family == "BIGINT":
        return form("CAST(round(x) AS BIGINT)", x=value)
    if kind is Kind.TIMESTAMPTZ and family == "DATE":
        return cast(cast(value, "TIMESTAMP"), "DATE")
    return cast(value, wanted)


_CASTS: dict[Kind, tuple[str, ...]] = {
    Kind.INTEGER: ("BIGINT", "DECIMAL", "DOUBLE", "VARCHAR"),
    Kind.DECIMAL: ("BIGINT", "DECIMAL", "DOUBLE"),
    Kind.FLOAT: ("BIGINT", "DOUBLE"),
    Kind.TEXT: ("DOUBLE", "DATE", "VARCHAR"),
    Kind.BOOLEAN: ("BIGINT", "BOOLEAN", "VARCHAR"),
    Kind.DATE: ("DATE", "TIMESTAMP", "VARCHAR"),
    Kind.TIMESTAMP: ("DATE", "TIMESTAMP"),
    Kind.TIMESTAMPTZ: ("DATE", "TIMESTAMP", "TIMESTAMPTZ"),
    Kind.NULL: ("BIGINT", "DECIMAL", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR", "BOOLEAN"),
}
_CAST_REMEDIES = {
    Kind.TEXT: "declare the source's column with its own type",
    Kind.DECIMAL: "keep it NUMERIC",
    Kind.FLOAT: "keep it FLOAT64",
}


def _instant(t: Translation, node: exp.Timestamp) -> exp.Expr:
    """timestamp_functions, TIMESTAMP: of a literal, in UTC unless it says otherwise."""
    if node.args.get("zone") is not None or not is_iso(node.this, Kind.TIMESTAMP):
        raise t.refused(node, "text becomes an instant differently in DuckDB", "TIMESTAMP '2024-01-31 00:00:00'")
    return cast(cast(node.this, "TIMESTAMP"), "TIMESTAMPTZ")


def _day(t: Translation, node: exp.Date | exp.TsOrDsToDate) -> exp.Expr:
    """date_functions, DATE: the day in UTC."""
    if node.args.get("zone") is not None or node.expressions:
        raise t.refused(node, "time zones change with each engine's edition of them", "DATE(x), which is in UTC")
    return cast(_shown(t, node.this), "DATE")


def _datetime(t: Translation, node: exp.TsOrDsToDatetime) -> exp.Expr:
    """datetime_functions, DATETIME: what the instant shows in UTC."""
    return cast(_shown(t, node.this), "TIMESTAMP")


def _shown(t: Translation, value: exp.Expr) -> exp.Expr:
    """``value``, an instant as what it shows in UTC."""
    kind = moments.moment(t, value, _MOMENTS)
    return cast(value, "TIMESTAMP") if kind is Kind.TIMESTAMPTZ else value


def _trunc(t: Translation, node: exp.DateTrunc | exp.TimestampTrunc | exp.DatetimeTrunc) -> exp.Expr:
    """date_functions, DATE_TRUNC, and timestamp_functions, TIMESTAMP_TRUNC: in UTC; WEEK begins on Sunday, ISOWEEK on
    Monday."""
    zone, kind = node.args.get("zone"), moments.moment(t, node.this, _MOMENTS)
    if zone is not None and zone.name.upper() != "UTC":
        raise t.refused(node, "time zones change with each engine's edition of them", "leave the zone out: it is UTC")
    unit = _week(node.args["unit"]) or moments.unit_of(
        t, node, moments.UNITS[:4] if kind is Kind.DATE else moments.UNITS
    )
    value = _shown(t, node.this)
    cut = moments.truncated(value, unit, kind) if unit != "sunday" else _sunday(t, node, kind)
    return cast(cut, "TIMESTAMPTZ") if kind is Kind.TIMESTAMPTZ else cut


def _week(unit: exp.Expr) -> str:
    """``week`` where ``unit`` is a week from Monday, ``sunday`` where it is one from Sunday."""
    if isinstance(unit, exp.WeekStart):
        return {"MONDAY": "week", "SUNDAY": "sunday"}.get(unit.name.upper(), "")
    return {"ISOWEEK": "week", "WEEK": "sunday"}.get(unit.name.upper(), "")


def _sunday(t: Translation, node: exp.Expr, kind: Kind) -> exp.Expr:
    if kind is not Kind.DATE:
        raise t.refused(node, "weeks from Sunday are cut from dates only", "DATE_TRUNC(DATE(x), WEEK), or ISOWEEK")
    days = cast(moments.part(t, node.this, "dow"), "INTEGER")
    return form("(x - n)", x=node.this, n=days)


def _date_diff(t: Translation, node: exp.DateDiff) -> exp.Expr:
    """date_functions, DATE_DIFF: counts boundaries, as DuckDB's date_diff."""
    for end in (node.this, node.expression):
        moments.moment(t, end, (Kind.DATE,))
    return moments.boundaries(t, node.this, node.expression, moments.unit_of(t, node, moments.UNITS[:4]))


def _timestamp_diff(t: Translation, node: exp.TimestampDiff) -> exp.Expr:
    """timestamp_functions, TIMESTAMP_DIFF: whole units. In the smallest there is nothing to cut off."""
    if node.args["unit"].name.upper() != "MICROSECOND":
        remedy = "DIV(TIMESTAMP_DIFF(a, b, MICROSECOND), 3600000000) for hours"
        raise t.refused(node, "it counts whole units, DuckDB their boundaries", remedy)
    return moments.boundaries(t, _shown(t, node.this), _shown(t, node.expression), "microsecond")


def _moved(t: Translation, node: exp.Func) -> exp.Expr:
    """DATE_ADD, DATETIME_ADD, TIMESTAMP_ADD and the subtractions: too short a month gives its last day."""
    kind = moments.moment(t, node.this, _MOMENTS)
    units = {
        Kind.DATE: (*moments.UNITS[:4], "week"),
        Kind.TIMESTAMP: (*moments.UNITS, "week"),
        Kind.TIMESTAMPTZ: moments.UNITS[3:],
    }[kind]
    back = isinstance(node, (exp.DateSub, exp.TimestampSub, exp.DatetimeSub))
    unit = moments.unit_of(t, node, units)
    value = _shown(t, node.this)
    moved = moments.shifted(t, value, kind, node.expression, unit, back=back)
    return cast(moved, "TIMESTAMPTZ") if kind is Kind.TIMESTAMPTZ else moved


_PARTS = {
    "year": "year", "quarter": "quarter", "month": "month", "day": "day", "hour": "hour", "minute": "minute",
    "second": "second", "dayofyear": "doy", "isoweek": "week", "isoyear": "isoyear",
}  # fmt: skip


def _extract(t: Translation, node: exp.Extract) -> exp.Expr:
    """date_functions and timestamp_functions, EXTRACT: in UTC; DAYOFWEEK is 1 on Sundays."""
    name, value = node.this.name.lower(), node.expression
    kind = moments.moment(t, value, _MOMENTS)
    if name == "date":
        return cast(_shown(t, value), "DATE")
    if name == "dayofweek":
        return form("(x + 1)", x=moments.part(t, _shown(t, value), "dow"))
    if name not in _PARTS or (kind is Kind.DATE and name in ("hour", "minute", "second")):
        known = ", ".join(["date", "dayofweek", *_PARTS])
        raise t.refused(node, f"{name} has no equal in DuckDB", f"use one of {known}")
    return moments.part(t, _shown(t, value), _PARTS[name])


def _string_agg(t: Translation, node: exp.GroupConcat) -> exp.Expr:
    """aggregate_functions, STRING_AGG: with commas unless told otherwise."""
    if not isinstance(node.this, exp.Order):
        raise t.refused(node, "without ORDER BY the order is left to chance", "STRING_AGG(x, ',' ORDER BY key)")
    return exp.GroupConcat(this=node.this.copy(), separator=node.args.get("separator") or exp.Literal.string(","))


def _trim(t: Translation, node: exp.Trim) -> exp.Expr:
    """string_functions, TRIM: all white space of Unicode, unless told what."""
    characters = node.expression
    if not (isinstance(characters, exp.Literal) and characters.is_string):
        raise t.refused(node, "it trims all white space, DuckDB blanks", "TRIM(x, ' ')")
    return node


def _greatest(t: Translation, node: exp.Greatest | exp.Least) -> exp.Expr:
    """mathematical_functions, GREATEST and LEAST: NULL where an operand is."""
    _no_floats(t, node)
    return greatest_or_null(t, node)


TYPES: dict[exp.DType, str | tuple[str, str]] = {
    exp.DType.BIGINT: "BIGINT",
    exp.DType.DOUBLE: "DOUBLE",
    exp.DType.TEXT: "VARCHAR",
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.DATE: "DATE",
    exp.DType.DATETIME: "TIMESTAMP",
    exp.DType.TIMESTAMP: "TIMESTAMP",
    exp.DType.TIMESTAMPTZ: "TIMESTAMPTZ",
    exp.DType.BIGDECIMAL: ("BIGNUMERIC has 76 digits, DuckDB's decimals 38", "use NUMERIC"),
    exp.DType.JSON: ("numbers and blanks inside JSON are written differently", "declare its fields as columns"),
}

BIGQUERY = Dialect(
    name="BigQuery",
    sqlglot="bigquery",
    keeps_case=True,
    types=TYPES,
    unscaled="DECIMAL(38, 9)",
    group_prefers_alias=True,
    rules={
        **wrappers(),
        exp.Literal: rule(_literal, "is_string"),
        exp.Add: rule(_arithmetic),
        exp.Sub: rule(_arithmetic),
        exp.Mul: rule(_arithmetic),
        exp.Div: rule(_division, "typed safe"),
        exp.SafeDivide: rule(_safe_divide),
        exp.IntDiv: rule(_whole_division),
        exp.Mod: rule(_remainder),
        **{n: rule(_comparison) for n in (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)},
        **{n: _one_float(shared) for n, shared in COMPARED.items()},
        exp.Between: rule(_no_floats, "low high negate"),
        exp.Min: rule(_no_floats),
        exp.Ordered: rule(_ordered, "desc nulls_first"),
        exp.Sum: rule(_sum),
        exp.Avg: rule(_average),
        exp.Round: rule(_round, "decimals"),
        exp.Floor: rule(_whole),
        exp.Ceil: rule(_whole),
        exp.Cast: rule(_cast, "to"),
        exp.Date: rule(_day, "zone"),
        exp.Timestamp: rule(_instant, "zone with_tz"),
        exp.TsOrDsToDatetime: rule(_datetime),
        **{n: rule(_trunc, "unit zone") for n in (exp.DateTrunc, exp.TimestampTrunc, exp.DatetimeTrunc)},
        exp.WeekStart: rule(),
        exp.DateDiff: rule(_date_diff, "unit date_part_boundary"),
        exp.TimestampDiff: rule(_timestamp_diff, "unit"),
        **{
            n: rule(_moved, "unit")
            for n in (
                exp.DateAdd, exp.DateSub, exp.DatetimeAdd, exp.DatetimeSub, exp.TimestampAdd, exp.TimestampSub,
            )
        },
        exp.Extract: rule(_extract),
        exp.Greatest: rule(_greatest, "ignore_nulls"),
        exp.Least: rule(_greatest, "ignore_nulls"),
        exp.GroupConcat: rule(_string_agg, "separator"),
        exp.Trim: rule(_trim, "position"),
        exp.Group: rule(args="all"),
        exp.TryCast: refusal("which text is a number differs in DuckDB", "declare the column with its own type"),
    },
)  # fmt: skip
