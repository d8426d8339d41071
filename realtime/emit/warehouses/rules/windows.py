"""Window functions: partitions, orders and frames."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.emit.warehouses.rules.aggregates import aggregate
from realtime.emit.warehouses.warehouse import Call, Writer, rule
from realtime.transpile.annotate import is_aggregate
from realtime.transpile.form import call
from realtime.transpile.lower import Rule, name_of, refused, type_of
from realtime.transpile.rules.text import whole
from realtime.transpile.rules.windows import written_out
from realtime.transpile.types import BIGINT

_NUMBERING: dict[type[exp.Expr], str] = {
    exp.RowNumber: "row_number",
    exp.Rank: "rank",
    exp.DenseRank: "dense_rank",
    exp.PercentRank: "percent_rank",
    exp.CumeDist: "cume_dist",
}
_SHIFTS: dict[type[exp.Expr], str] = {exp.Lag: "lag", exp.Lead: "lead"}
_EDGES: dict[type[exp.Expr], str] = {exp.FirstValue: "first_value", exp.LastValue: "last_value"}


def _window(writer: Writer, node: exp.Window) -> exp.Expr:
    node = written_out(node)
    over = _over(writer, node)
    function = node.this.this if isinstance(node.this, exp.RespectNulls) else node.this
    if is_aggregate(function) or isinstance(function, exp.Filter):
        inner = function.this if isinstance(function, exp.Filter) else function
        if isinstance(inner, (exp.GroupConcat, exp.ArgMax, exp.ArgMin)) or isinstance(inner.this, exp.Distinct):
            raise refused(node, f"{name_of(inner)} so over a window", remedy="group in a CTE, and join")
        return aggregate(writer, function, Call(writer, over=over))
    if type(function) in _NUMBERING:
        return over(call(_NUMBERING[type(function)]))
    if isinstance(function, exp.Ntile) and whole(function.this) is not None:
        return writer.cast(over(call("ntile", whole(function.this) or 1)), BIGINT)
    if type(function) in _SHIFTS:
        return over(call(_SHIFTS[type(function)], *_shifted(writer, function)))
    edge = _edge(writer, function)
    if edge is not None:
        return _framed(node, over(edge))
    raise refused(node, f"{name_of(function)} over a window has no exact form", remedy="see docs/warehouses.md")


def _edge(writer: Writer, function: exp.Expr) -> exp.Expr | None:
    """The value at one place of the frame; None where ``function`` is none, or one that the warehouse has not."""
    if type(function) in _EDGES:
        return call(_EDGES[type(function)], writer.typed(function.this))
    # Snowflake counts to 1000 only.
    if isinstance(function, exp.NthValue) and 0 < (place := whole(function.args["offset"]) or 0) <= 1000:
        return call("nth_value", writer.typed(function.this), place)
    if isinstance(function, exp.IgnoreNulls) and type(function.this) in _EDGES and writer.warehouse.ignores_nulls:
        return exp.IgnoreNulls(this=_edge(writer, function.this))
    return None


def _framed(node: exp.Window, written: exp.Expr) -> exp.Expr:
    """``written`` with its frame: where none is, these functions see the whole partition in Snowflake."""
    if node.args.get("order") is None:
        raise refused(node, "without ORDER BY it depends on chance", remedy="add ORDER BY to the window")
    if written.args.get("spec") is None:
        written.set("spec", exp.WindowSpec(
            kind="RANGE", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW",
        ))  # fmt: skip
    return written


def _shifted(writer: Writer, function: exp.Expr) -> list[exp.Expr | int]:
    offset, default = function.args.get("offset"), function.args.get("default")
    arguments: list[exp.Expr | int] = [writer.typed(function.this)]
    number = whole(offset) if offset is not None else 1
    if number is None or number < 0:
        raise refused(function, "a number of rows that is no constant", remedy="write the number")
    if offset is not None or default is not None:
        arguments.append(number)
    if default is not None:
        arguments.append(writer.typed(default, type_of(function.this)))
    return arguments


def _over(writer: Writer, node: exp.Window) -> Callable[[exp.Expr], exp.Expr]:
    parts = [writer(p) for p in node.args.get("partition_by") or []]
    keys = writer.keys(node.args.get("order"))
    spec = node.args.get("spec")
    frame = _frame(node, spec) if spec is not None else None

    def apply(function: exp.Expr) -> exp.Expr:
        order = exp.Order(expressions=[k.copy() for k in keys]) if keys else None
        return exp.Window(
            this=function, partition_by=[p.copy() for p in parts], order=order, spec=frame and frame.copy(), over="OVER"
        )

    return apply


def _frame(node: exp.Window, spec: exp.WindowSpec) -> exp.WindowSpec:
    kind = str(spec.args.get("kind")).upper()
    bounds = {side: spec.args.get(side) for side in ("start", "end")}
    by_value = kind == "RANGE" and any(isinstance(b, exp.Expr) for b in bounds.values())
    numbers = all(not isinstance(b, exp.Expr) or whole(b) is not None for b in bounds.values())
    if kind not in ("ROWS", "RANGE") or by_value or not numbers or spec.args.get("exclude"):
        raise refused(node, "this frame", remedy="count it in ROWS")
    return exp.WindowSpec(
        kind=kind,
        start=bounds["start"],
        start_side=spec.args.get("start_side"),
        end=bounds["end"] or "CURRENT ROW",
        end_side=spec.args.get("end_side"),
    )


RULES: dict[type[exp.Expr], Rule] = {exp.Window: rule(_window, "partition_by order spec alias over")}
