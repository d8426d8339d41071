"""Statistics of numbers, and of pairs of numbers."""

from __future__ import annotations

import re

from sqlglot import exp

from realtime.transpile.form import call, form
from realtime.transpile.lower import Lower, refused, type_of
from realtime.transpile.rules.arithmetic import double
from realtime.transpile.rules.components import Aggregate, Call, Component, Spec, nullable
from realtime.transpile.rules.order import INCOMPARABLE
from realtime.transpile.types import Kind


def _deviation(name: str, least: int) -> Spec:
    def build(lower: Lower, found: Call) -> Aggregate:
        x = double(lower, found.value)
        parts = (Component(name, (x,)), Component("count", (x,)))
        return Aggregate(parts, lambda v, n: form("if(n < least, NULL, v)", n=n, v=v, least=least))

    return build


def _of_pairs(name: str, finish: str) -> Spec:
    """Statistics of the pairs without NULL; ``finish`` makes the value of ``v`` and the number ``n`` of pairs."""

    def build(lower: Lower, found: Call) -> Aggregate:
        x, y = double(lower, found.node.this), double(lower, found.node.expression)
        both = form("if(isNull(x), NULL, y)", x=x, y=y)
        parts = (Component(name, (x, y)), Component("count", (both,)))
        return Aggregate(parts, lambda v, n: form(finish, n=n, v=v))

    return build


_REGRESSIONS = {
    # by the components in the order of `_regression`: n pairs, sums of x and y, variances of x and y, covariance
    "regr_avgx": "if(n = 0, NULL, sx / n)",
    "regr_avgy": "if(n = 0, NULL, sy / n)",
    "regr_sxx": "if(n = 0, NULL, vx * n)",
    "regr_syy": "if(n = 0, NULL, vy * n)",
    "regr_sxy": "if(n = 0, NULL, c * n)",
    "regr_slope": "if(n = 0, NULL, c / vx)",
    "regr_intercept": "if(n = 0 OR vx = 0, NULL, sy / n - (c / vx) * (sx / n))",
    "regr_r2": "multiIf(n = 0 OR vx = 0, NULL, vy = 0, 1., pow(r, 2))",
}
_PARTS = {
    "sx": "sum",
    "sy": "sum",
    "vx": "varPopStable",
    "vy": "varPopStable",
    "c": "covarPopStable",
    "r": "corrStable",
}


def _regression(name: str) -> Spec:
    """``regr_*(y, x)`` over the pairs without NULL."""
    template = _REGRESSIONS[name]
    used = [part for part in _PARTS if re.search(rf"\b{part}\b", template)]

    def build(lower: Lower, found: Call) -> Aggregate:
        y, x = double(lower, found.node.this), double(lower, found.node.expression)
        pairs = {"x": form("if(isNull(y), NULL, x)", x=x, y=y), "y": form("if(isNull(x), NULL, y)", x=x, y=y)}
        both = (pairs["x"], pairs["y"])
        parts = [Component("count", (pairs["y"],))]
        parts += [Component(_PARTS[p], (pairs[p[1]],) if len(p) == 2 else both) for p in used]

        def finish(n: exp.Expr, *values: exp.Expr) -> exp.Expr:
            return form(template, n=n, **dict(zip(used, values, strict=True)))

        return Aggregate(tuple(parts), finish)

    return build


def _pairs(lower: Lower, found: Call) -> Aggregate:
    both = form("isNull(x) OR isNull(y)", x=lower(found.node.this), y=lower(found.node.expression))
    return Aggregate((Component("count", (form("if(no, NULL, 1)", no=both),)),), lambda n: call("toUInt32", n))


def _standard_error(lower: Lower, found: Call) -> Aggregate:
    x = double(lower, found.value)
    parts = (Component("varPopStable", (x,)), Component("count", (x,)))
    return Aggregate(parts, lambda v, n: form("if(n = 0, NULL, sqrt(v) / sqrt(n))", n=n, v=v))


def _product(lower: Lower, found: Call) -> Aggregate:
    part = Component("groupArray", (double(lower, found.value),))
    return Aggregate((part,), lambda a: form("if(empty(a), NULL, arrayProduct(a))", a=a))


def _kahan(average: bool) -> Spec:
    def build(lower: Lower, found: Call) -> Aggregate:
        if type_of(found.value).kind is Kind.FLOAT:
            reason = "Kahan's sum of an infinity and others depends on their order"
            raise refused(found.node, reason, remedy="use sum(x) or avg(x)")
        x = nullable(double(lower, found.value))
        total = Component("sumKahan", (x,))
        if not average:
            return Aggregate((total,))
        return Aggregate((total, Component("count", (x,))), lambda s, n: form("s / nullIf(n, 0)", s=s, n=n))

    return build


def _entropy(lower: Lower, found: Call) -> Aggregate:
    kind = type_of(found.value)
    if kind.kind in (*INCOMPARABLE, Kind.FLOAT):
        raise refused(found.node, f"entropy of {kind}", remedy="cast it to DECIMAL or VARCHAR")
    x = lower(found.value)
    part = Component("entropy", (call("assumeNotNull", x),), call("isNotNull", x))
    return Aggregate((part,), lambda v: form("if(isNaN(v), 0., v)", v=v))


SPECS: dict[type[exp.Expr], Spec] = {
    exp.Stddev: _deviation("stddevSampStable", 2),
    exp.StddevSamp: _deviation("stddevSampStable", 2),
    exp.StddevPop: _deviation("stddevPopStable", 1),
    exp.Variance: _deviation("varSampStable", 2),
    exp.VariancePop: _deviation("varPopStable", 1),
    exp.Corr: _of_pairs("corrStable", "multiIf(n = 0, NULL, n = 1, nan, v)"),
    exp.CovarSamp: _of_pairs("covarSampStable", "if(n < 2, NULL, v)"),
    exp.CovarPop: _of_pairs("covarPopStable", "if(n < 1, NULL, v)"),
    exp.RegrCount: _pairs,
    exp.RegrAvgx: _regression("regr_avgx"),
    exp.RegrAvgy: _regression("regr_avgy"),
    exp.RegrSxx: _regression("regr_sxx"),
    exp.RegrSyy: _regression("regr_syy"),
    exp.RegrSxy: _regression("regr_sxy"),
    exp.RegrSlope: _regression("regr_slope"),
    exp.RegrIntercept: _regression("regr_intercept"),
    exp.RegrR2: _regression("regr_r2"),
}
NAMED: dict[str, Spec] = {
    "entropy": _entropy,
    "favg": _kahan(True),
    "kahan_sum": _kahan(False),
    "product": _product,
    "sem": _standard_error,
}
