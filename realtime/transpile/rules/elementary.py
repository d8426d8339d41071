"""Elementary functions of doubles: powers, logarithms, angles.

Both engines follow IEEE 754 at the edges (``ln(0)`` is ``-inf``) and call different mathematical libraries: of 87,000
values up to a half differed, by the last bit. That is within what floats are compared with everywhere else, too.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call
from realtime.transpile.lower import Lower, Rule, refused, rule
from realtime.transpile.rules.arithmetic import double

ONE_ARGUMENT: dict[type[exp.Expr], str] = {
    exp.Sqrt: "sqrt",
    exp.Cbrt: "cbrt",
    exp.Exp: "exp",
    exp.Ln: "log",
    exp.Sin: "sin",
    exp.Cos: "cos",
    exp.Tan: "tan",
    exp.Asin: "asin",
    exp.Acos: "acos",
    exp.Atan: "atan",
    exp.Degrees: "degrees",
    exp.Radians: "radians",
}


def _of_double(function: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        return call(function, double(lower, node.this))

    return build


def _of_two(function: str) -> Callable[[Lower, exp.Binary], exp.Expr]:
    def build(lower: Lower, node: exp.Binary) -> exp.Expr:
        return call(function, double(lower, node.this), double(lower, node.expression))

    return build


def _log(lower: Lower, node: exp.Log) -> exp.Expr:
    base = node.this
    if node.expression is None:
        return call("log10", double(lower, base))
    if isinstance(base, exp.Literal) and base.name in ("2", "10"):
        return call(f"log{base.name}", double(lower, node.expression))
    raise refused(node, "logarithm of another base than 2 and 10", remedy="write ln(x) / ln(base)")


def _pi(lower: Lower, node: exp.Pi) -> exp.Expr:
    return call("pi")


RULES: dict[type[exp.Expr], Rule] = {
    **{kind: rule(_of_double(function)) for kind, function in ONE_ARGUMENT.items()},
    exp.Pow: rule(_of_two("pow")),
    exp.Atan2: rule(_of_two("atan2")),
    exp.Log: rule(_log),
    exp.Pi: rule(_pi),
}
