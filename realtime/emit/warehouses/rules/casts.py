"""CAST, and the implicit casts of everything else: which are exact, by the families of both types."""

from __future__ import annotations

from sqlglot import exp

from realtime.emit.warehouses.warehouse import Conversion, Writer, rule
from realtime.transpile.form import call, form, text
from realtime.transpile.lower import Rule, type_of
from realtime.transpile.ranges import type_range
from realtime.transpile.types import DuckType, Kind

SIGNED = ("SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
"""Integers in the order of their width; the others are kept in wider types, which raise too late."""


def _cast(writer: Writer, node: exp.Cast) -> exp.Expr:
    return writer.to(node.this, type_of(node))


def _plain(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    return writer.cast(x, b)


def _to_integer(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    """The warehouse raises where the value does not fit, as DuckDB; decimals are rounded half away from zero."""
    return writer.cast(x, b) if b.name in SIGNED else None


def _checked(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    """A whole number where the warehouse has one type for all of them."""
    rounded = writer.named_cast(x, "NUMBER(38, 0)") if a.kind is Kind.DECIMAL else x
    narrow, wide = type_range(b), type_range(a)
    if narrow is not None and wide is not None and narrow[0] <= wide[0] and wide[1] <= narrow[1]:
        return writer.cast(rounded, b)
    return within(writer, rounded, b)


def within(writer: Writer, x: exp.Expr, target: DuckType) -> exp.Expr:
    """The whole number ``x`` as ``target``; an error where it does not fit, as in DuckDB."""
    limits = type_range(target)
    assert limits is not None
    low, high = (exp.Literal.number(int(limit)) for limit in limits)
    if target.name == "HUGEINT":
        return writer.cast(x, target)
    # The message holds the value, so that no optimizer computes the branch before it is taken.
    failure = call("to_number", form("message || to_varchar(x)", message=f"{target} overflow: ", x=x))
    checked = form(
        "CASE WHEN x BETWEEN low AND high THEN x WHEN NOT x IS NULL THEN f END", x=x, low=low, high=high, f=failure
    )
    return writer.cast(checked, target)


def _float_to_integer(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    """Half to even in both; a numeric would keep fifteen digits only."""
    return writer.cast(x, b) if b.name in SIGNED and b.name != "HUGEINT" else None


def _decimal_to_text(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    """DuckDB writes .5000 where a type has no digits before the point."""
    return writer.cast(x, b) if a.precision > a.scale else None


def _boolean_to_integer(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    return writer.cast(form("CASE WHEN x THEN 1 WHEN NOT x THEN 0 END", x=x), b)


def _not_zero(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    return exp.paren(form("x <> 0", x=x))


def _moment_to_timestamp(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    """Fewer digits of a second are cut off in DuckDB and rounded elsewhere."""
    return writer.cast(x, b) if b.name == "TIMESTAMP" and a.name != "TIMESTAMP_NS" else None


def _text_matching(pattern: str, what: str) -> Conversion:
    """Text in the form that both read alike; DuckDB takes more, where this raises."""

    def convert(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
        if (b.kind is Kind.INTEGER and b.name not in SIGNED) or (b.kind is Kind.TIMESTAMP and b.name != "TIMESTAMP"):
            return None
        template = "CASE WHEN regexp_like(x, pattern) THEN x ELSE wrong || x END"
        return writer.cast(form(template, x=x, pattern=pattern, wrong=f"not {what}: "), b)

    return convert


def _date_to_text(writer: Writer, x: exp.Expr, a: DuckType, b: DuckType) -> exp.Expr | None:
    """As ISO 8601, whatever the session's format is; an error where a year has not four digits, for these differ."""
    year = call("date_part", text("year"), x)
    failed = form("m || y", m="year beyond four digits: ", y=year)
    failure = writer.cast(writer.named_cast(failed, writer.warehouse.types["INTEGER"]), b)
    template = "CASE WHEN y BETWEEN 1 AND 9999 THEN to_char(x, 'YYYY-MM-DD') WHEN NOT x IS NULL THEN f END"
    return form(template, x=x, y=year, f=failure)


_WHOLE = r"^\s*[+-]?[0-9]+\s*$"
_DECIMAL = r"^\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*$"
_FLOAT = r"^\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIMESTAMP = rf"{_DATE[:-1]}([ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?)?$"

_NUMBERS: dict[tuple[Kind, Kind], Conversion] = {
    (Kind.INTEGER, Kind.FLOAT): _plain,
    (Kind.INTEGER, Kind.DECIMAL): _plain,
    (Kind.INTEGER, Kind.TEXT): _plain,
    (Kind.INTEGER, Kind.BOOLEAN): _not_zero,
    (Kind.DECIMAL, Kind.DECIMAL): _plain,
    (Kind.DECIMAL, Kind.FLOAT): _plain,
    (Kind.DECIMAL, Kind.TEXT): _decimal_to_text,
    (Kind.FLOAT, Kind.FLOAT): _plain,
    (Kind.BOOLEAN, Kind.TEXT): _plain,
    (Kind.BOOLEAN, Kind.INTEGER): _boolean_to_integer,
    (Kind.DATE, Kind.TIMESTAMP): _moment_to_timestamp,
    (Kind.DATE, Kind.TEXT): _date_to_text,
    (Kind.TIMESTAMP, Kind.DATE): _plain,
    (Kind.TIMESTAMP, Kind.TIME): _plain,
    (Kind.TIMESTAMP, Kind.TIMESTAMP): _moment_to_timestamp,
    (Kind.UUID, Kind.TEXT): _plain,
}
POSTGRES_CASTS: dict[tuple[Kind, Kind], Conversion] = {
    **_NUMBERS,
    (Kind.INTEGER, Kind.INTEGER): _to_integer,
    (Kind.DECIMAL, Kind.INTEGER): _to_integer,
    (Kind.FLOAT, Kind.INTEGER): _float_to_integer,
    (Kind.TEXT, Kind.INTEGER): _text_matching(_WHOLE, "a whole number"),
    (Kind.TEXT, Kind.DECIMAL): _text_matching(_DECIMAL, "a number"),
    (Kind.TEXT, Kind.FLOAT): _text_matching(_FLOAT, "a number"),
    (Kind.TEXT, Kind.DATE): _text_matching(_DATE, "a date"),
    (Kind.TEXT, Kind.TIMESTAMP): _text_matching(_TIMESTAMP, "a timestamp"),
}
SNOWFLAKE_CASTS: dict[tuple[Kind, Kind], Conversion] = {
    **_NUMBERS,
    (Kind.INTEGER, Kind.INTEGER): _checked,
    (Kind.DECIMAL, Kind.INTEGER): _checked,
}
RULES: dict[type[exp.Expr], Rule] = {exp.Cast: rule(_cast, "to")}
