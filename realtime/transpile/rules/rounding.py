"""Rounding and range checks that casts and arithmetic share."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call, form
from realtime.transpile.lower import Lower, refused
from realtime.transpile.origins import unsteady_average
from realtime.transpile.types import DuckType


def within(x: exp.Expr, b: DuckType, try_: bool) -> exp.Expr:
    """``x``, a wide decimal, where it fits the decimal type ``b``; else NULL for ``try_``, or an error."""
    limit = call("toDecimal256", "1" + "0" * (b.precision - b.scale), 0)
    if try_:
        return form("if(abs(x) >= most, NULL, x * (abs(x) < most))", x=x, most=limit)
    return form("x + throwIf(ifNull(abs(x) >= most, 0), 'decimal overflow')", x=x, most=limit)


def rounded(x: exp.Expr) -> exp.Expr:
    """A float rounded half away from zero, as DuckDB rounds; ClickHouse rounds half to even."""
    return form("(trunc(x) + if(abs(x - trunc(x)) >= 0.5, sign(x), 0.))", x=x)


def check_steady(lower: Lower, node: exp.Expr) -> None:
    """RefusedError where ``node`` rounds what DuckDB's optimizer computes one way or the other: of 0.125 and the
    float below it, rounding makes a difference that is seen."""
    average = unsteady_average(node.this, lower.view)
    if average is not None:
        raise refused(
            node,
            "the last bit of an average of decimals depends on DuckDB's plan, and rounding shows it",
            remedy="average by sum(x) / count(x), or by avg(x) FILTER (WHERE x IS NOT NULL)",
        )


def power_of_ten(exponent: int) -> exp.Expr:
    """10^exponent as a float literal."""
    return exp.Literal.number(f"{10**exponent}.")
