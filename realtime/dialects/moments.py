"""Dates and timestamps, as more than one dialect has them."""

from __future__ import annotations

from sqlglot import exp

from realtime.dialects.dialect import Translation, cast
from realtime.transpile.types import Kind

UNITS = ("year", "quarter", "month", "day", "hour", "minute", "second")
"""Units that begin at the same moments everywhere; a week does not."""
_DAYS = ("year", "quarter", "month", "week", "day")


def unit_of(t: Translation, node: exp.Expr, allowed: tuple[str, ...], given: exp.Expr | None = None) -> str:
    """The unit that ``node`` names, in lower case and the singular; RefusedError unless it is ``allowed``."""
    found = given if given is not None else node.args.get("unit")
    name = found.name.lower().removesuffix("s") if isinstance(found, (exp.Var, exp.Literal)) else ""
    if name not in allowed:
        shown = found.sql(t.dialect.sqlglot) if found is not None else "no unit"
        raise t.refused(
            node, f"{shown} is counted differently in DuckDB", f"units that are the same: {', '.join(allowed)}"
        )
    return name


def moment(t: Translation, node: exp.Expr, allowed: tuple[Kind, ...] = (Kind.DATE, Kind.TIMESTAMP)) -> Kind:
    """The family of ``node``; RefusedError unless it is one of ``allowed``."""
    kind = t.kind_of(node)
    if kind is Kind.TIMESTAMPTZ and kind not in allowed:
        raise t.refused(node, "what an instant shows depends on the session's time zone", "use timestamps without zone")
    if kind not in allowed:
        raise t.refused(node, f"{kind} where a date or timestamp is expected", "add an explicit CAST")
    return kind


def truncated(value: exp.Expr, unit: str, kind: Kind) -> exp.Expr:
    """``value``, which is of ``kind``, cut to ``unit``; a date stays a date."""
    cut = exp.TimestampTrunc(this=value.copy(), unit=exp.var(unit.upper()))
    return cast(cut, "DATE") if kind is Kind.DATE else cut


def shifted(t: Translation, value: exp.Expr, kind: Kind, count: exp.Expr, unit: str, *, back: bool) -> exp.Expr:
    """``value``, which is of ``kind``, moved by a literal ``count`` of units; too short a month gives its last day.

    A date moved by days or longer units stays a date.
    """
    bare = count.unnest()
    negative = isinstance(bare, exp.Neg)
    number = bare.this.unnest() if negative else bare
    if not isinstance(number, exp.Literal) or not number.name.lstrip("-").isdigit():
        raise t.refused(count, "how far it moves must be a literal whole number", "write the number")
    amount = int(number.name) * (-1 if negative else 1) * (-1 if back else 1)
    if unit == "quarter":
        amount, unit = amount * 3, "month"
    if unit == "week":
        amount, unit = amount * 7, "day"
    size = exp.Interval(this=exp.Literal.string(str(abs(amount))), unit=exp.var(unit.upper()))
    operator = exp.Sub if amount < 0 else exp.Add
    moved = operator(this=exp.paren(value.copy()) if isinstance(value, exp.Binary) else value.copy(), expression=size)
    if kind is Kind.DATE and unit in _DAYS:
        return cast(moved, "DATE")
    return exp.paren(moved, copy=False)


def part(t: Translation, value: exp.Expr, name: str) -> exp.Expr:
    """``EXTRACT(name FROM value)``: a whole number."""
    return exp.Extract(this=exp.var(name.upper()), expression=value.copy())


def boundaries(t: Translation, end: exp.Expr, start: exp.Expr, unit: str) -> exp.Expr:
    """How many beginnings of ``unit`` lie between: what DuckDB's date_diff counts."""
    return exp.DateDiff(this=end.copy(), expression=start.copy(), unit=exp.var(unit.upper()))
