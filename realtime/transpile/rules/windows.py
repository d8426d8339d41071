"""Window functions: partitions, orders and frames with DuckDB's place for NULL and NaN."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.annotate import is_aggregate
from realtime.transpile.form import call, number
from realtime.transpile.lower import Lower, Rule, name_of, refused, rule, type_of
from realtime.transpile.rules import intervals
from realtime.transpile.rules.aggregates import aggregate
from realtime.transpile.rules.conditional import as_type
from realtime.transpile.rules.order import ordered
from realtime.transpile.types import NESTED, Kind

_NUMBERING: dict[type[exp.Expr], str] = {
    exp.RowNumber: "row_number",
    exp.Rank: "rank",
    exp.DenseRank: "dense_rank",
    exp.PercentRank: "percent_rank",
    exp.CumeDist: "cume_dist",
}
# ClickHouse reads the offset of a RANGE frame as a 32-bit number.
_MOST_OFFSET = 2**31


def _window(lower: Lower, node: exp.Window) -> exp.Expr:
    node = written_out(node)
    function = node.this
    if isinstance(function, exp.IgnoreNulls) and isinstance(function.this, (exp.Lag, exp.Lead)):
        return _beyond_nulls(lower, node, function.this)
    over = _over(lower, node)
    if isinstance(function, exp.IgnoreNulls):
        return over(_skipping_nulls(lower, node, function.this))
    if isinstance(function, exp.RespectNulls):
        function = function.this
    if is_aggregate(function) or isinstance(function, exp.Filter):
        inner = function.this if isinstance(function, exp.Filter) else function
        if isinstance(inner, (exp.GroupConcat, exp.ArrayAgg)):
            raise refused(node, f"{name_of(inner)} over a window", remedy="group instead")
        return aggregate(lower, function, over)
    if type(function) in _NUMBERING:
        return over(call(_NUMBERING[type(function)]))
    build = _FUNCTIONS.get(type(function))
    if build is None:
        raise refused(node, f"{name_of(function)} has no exact form over a window", remedy="see docs/sql.md")
    if not isinstance(function, exp.Ntile) and type_of(function.this).kind in NESTED:
        what = f"{type_of(function.this)} outside the frame is NULL, and ClickHouse has no such NULL"
        raise refused(node, what, remedy="take one of its elements or fields")
    return over(build(lower, function))


def written_out(node: exp.Window) -> exp.Window:
    """``node`` with what it takes from the named windows that it refers to."""
    full = exp.Window(this=node.this, **{part: node.args.get(part) for part in _PARTS})
    full.parent = node.parent
    select, at, seen = node.find_ancestor(exp.Select), node, set[str]()
    while (alias := at.args.get("alias")) is not None:
        named = {w.name.lower(): w for w in (select.args.get("windows") if select else None) or []}
        if alias.name.lower() not in named or alias.name.lower() in seen:
            raise refused(node, f"window {alias.name} is not known here", remedy="write the window out")
        seen.add(alias.name.lower())
        at = named[alias.name.lower()]
        twice = [part for part in _PARTS if full.args.get(part) and at.args.get(part)]
        if twice:
            raise refused(node, f"window {alias.name} is given another {twice[0]}", remedy="write the window out")
        for part in _PARTS:
            full.set(part, full.args.get(part) or at.args.get(part))
    return full if full.args != node.args else node


_PARTS = ("partition_by", "order", "spec")


def _over(lower: Lower, node: exp.Window) -> Callable[[exp.Expr], exp.Expr]:
    spec, order = node.args.get("spec"), node.args.get("order")
    items = order.expressions if order is not None else []
    parts = [lower.canonical(p) for p in node.args.get("partition_by") or []]
    if spec is not None and any(isinstance(spec.args.get(s), exp.Expr) for s in ("start", "end")) and _is_range(spec):
        key, unit = _measured(lower, node, spec, items)
        keys = ordered(lower, items[0], key)
        # A frame of values around a NULL holds NULLs only, and no other holds them; ClickHouse has them in both.
        parts.append(call("isNull", key))
    else:
        keys, unit = [k for item in items for k in ordered(lower, item, lower(item.this))], 1
    frame = _frame(lower, node, spec, unit) if spec is not None else None

    def apply(function: exp.Expr) -> exp.Expr:
        by = exp.Order(expressions=[k.copy() for k in keys]) if keys else None
        return exp.Window(
            this=function, partition_by=[p.copy() for p in parts], order=by, spec=frame and frame.copy(), over="OVER"
        )

    return apply


def _is_range(spec: exp.WindowSpec) -> bool:
    # sqlglot keeps it in the case in which it was written.
    return str(spec.args.get("kind")).upper() == "RANGE"


def _measured(lower: Lower, node: exp.Window, spec: exp.WindowSpec, items: list[exp.Ordered]) -> tuple[exp.Expr, int]:
    """The key of a frame of values as an integer, and how many microseconds one of it is, where it is a time."""
    if len(items) != 1 or "UNBOUNDED" in (str(spec.args.get(s)).upper() for s in ("start", "end")):
        raise refused(node, "a frame of values beside UNBOUNDED", remedy="write both ends as values, or CURRENT ROW")
    key, found = items[0].this, type_of(items[0].this)
    in_time = any(isinstance(spec.args.get(s), exp.Interval) for s in ("start", "end"))
    if in_time and found.kind is Kind.DATE:
        return call("toInt32", lower(key)), intervals.MICROSECONDS["day"]
    if in_time and found.kind is Kind.TIMESTAMP:
        return call("toUnixTimestamp64Micro", lower(key)), 1
    if in_time or found.kind is not Kind.INTEGER:
        raise refused(node, f"a frame of values over {found}", remedy="order by one integer, date or timestamp")
    return lower(key), 1


def _frame(lower: Lower, node: exp.Window, spec: exp.WindowSpec, unit: int) -> exp.WindowSpec:
    kind = str(spec.args.get("kind")).upper()
    if kind not in ("ROWS", "RANGE") or spec.args.get("exclude"):
        raise refused(node, f"a frame of {kind}", remedy="write ROWS or RANGE")
    return exp.WindowSpec(
        kind=kind,
        start=_bound(lower, node, spec.args.get("start"), unit),
        start_side=spec.args.get("start_side"),
        end=_bound(lower, node, spec.args.get("end") or "CURRENT ROW", unit),
        end_side=spec.args.get("end_side"),
    )


def _bound(lower: Lower, node: exp.Window, bound: str | exp.Expr | None, unit: int) -> str | exp.Expr | None:
    if not isinstance(bound, exp.Expr):
        return bound
    if isinstance(bound, exp.Interval):
        offset = intervals.microseconds(lower, bound)
        if offset is None or offset < 0:
            raise refused(node, "a frame of no fixed length", remedy="write it in days or shorter units")
        if offset // unit >= _MOST_OFFSET:
            raise refused(
                node,
                "ClickHouse keeps RANGE frames over timestamps below 35 minutes",
                remedy="order by a DATE, as in day::date, or by whole seconds, as in epoch(ts)::bigint",
            )
        return number(offset // unit)
    if not isinstance(bound, exp.Literal) or not bound.is_int:
        raise refused(node, "a frame whose width is no number", remedy="write the number")
    return bound.copy()


def _ntile(lower: Lower, node: exp.Ntile) -> exp.Expr:
    return call("ntile", _whole(node.this))


def _shift(name: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        arguments = [call("toNullable", lower(node.this))]
        offset, default = node.args.get("offset"), node.args.get("default")
        if offset is not None or default is not None:
            arguments.append(_whole(offset) if offset is not None else number(1))
        if default is not None:
            arguments.append(as_type(lower, default, type_of(node.this)))
        return call(name, *arguments)

    return build


def _edge(name: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        return call(f"{name}_respect_nulls", call("toNullable", lower(node.this)))

    return build


def _skipping_nulls(lower: Lower, node: exp.Window, function: exp.Expr) -> exp.Expr:
    names: dict[type[exp.Expr], str] = {exp.FirstValue: "first_value", exp.LastValue: "last_value"}
    if type(function) not in names:
        raise refused(node, f"{name_of(function)} IGNORE NULLS", remedy="filter the NULLs out first")
    return call(names[type(function)], call("toNullable", lower(function.this)))


def _beyond_nulls(lower: Lower, node: exp.Window, function: exp.Lag | exp.Lead) -> exp.Expr:
    """The nearest value before or after the row that is not NULL: the last or the first of all there are."""
    offset, default = function.args.get("offset"), function.args.get("default")
    if offset is not None and not (isinstance(offset, exp.Literal) and offset.name == "1"):
        what = f"{name_of(function)} of more than one row, IGNORE NULLS"
        raise refused(node, what, remedy="filter the NULLs out first")
    back = isinstance(function, exp.Lag)
    ends = ("UNBOUNDED", exp.Literal.number(1)) if back else (exp.Literal.number(1), "UNBOUNDED")
    side = "PRECEDING" if back else "FOLLOWING"
    spec = exp.WindowSpec(kind="ROWS", start=ends[0], start_side=side, end=ends[1], end_side=side)
    framed = exp.Window(this=node.this, partition_by=node.args.get("partition_by"), order=node.args.get("order"))
    framed.set("spec", spec)
    name = "last_value" if back else "first_value"
    found = _over(lower, framed)(call(name, call("toNullable", lower(function.this))))
    return found if default is None else call("ifNull", found, as_type(lower, default, type_of(function.this)))


def _nth(lower: Lower, node: exp.NthValue) -> exp.Expr:
    return call("nth_value", call("toNullable", lower(node.this)), _whole(node.args["offset"]))


def _whole(node: exp.Expr) -> exp.Expr:
    if not isinstance(node, exp.Literal) or not node.is_int:
        raise refused(node, "a number of rows that is no constant", remedy="write the number")
    return node.copy()


_FUNCTIONS: dict[type[exp.Expr], Callable[..., exp.Expr]] = {
    exp.Ntile: _ntile,
    exp.Lag: _shift("lag"),
    exp.Lead: _shift("lead"),
    exp.FirstValue: _edge("first_value"),
    exp.LastValue: _edge("last_value"),
    exp.NthValue: _nth,
}
RULES: dict[type[exp.Expr], Rule] = {exp.Window: rule(_window, "partition_by order spec alias over")}
