"""Makes a view that may fail on a row take it all the same, and count it.

Nothing may fail on insert: the landing table would keep the row and the state would never get it. So each
expression that may fail gives way to one that can't, and the state counts per group the rows on which it would have.
Whoever reads such a group gets an error, as in batch.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.planner.failures import Guard, UncountableError, either
from realtime.planner.passes.split_aggregate import PLACEHOLDER, Split
from realtime.planner.streams import chain
from realtime.planner.throws import throwing
from realtime.transpile.form import call, column, form, quote

FAILED = "_failed"


def carry_failures(split: Split, model: str) -> Split:
    """``split`` with views that can't fail, and a read select that raises where they would have.

    UncountableError where there is no such form; ``split`` itself where nothing in it may fail.
    """
    reasons = [reason for reason in map(throwing, split.views) if reason is not None]
    if not reasons:
        return split
    if split.latest:
        # Only the newest row is computed in batch, so that of another one does not count.
        raise UncountableError(reasons[0])
    views = tuple(_counting(view.copy()) for view in split.views)
    return Split(views, _raising(split.read, model, reasons[0]), split.keys, split.latest)


def _counting(view: exp.Select) -> exp.Select:
    """``view`` with the hidden column that counts failed rows, in place."""
    if any(a.alias.startswith(FAILED) for a in view.find_all(exp.Alias)):
        raise UncountableError(f"a column called {FAILED}")
    flags: dict[str, str] = {}
    for select in reversed(list(chain(view.args["from_"].this))):
        flags = _mapped(select, flags)
    _guard_keys(view, flags)
    failed = either(_guarded_filter(view, flags), *_below(view, flags))
    guard = Guard(_source(view), flags)
    projections = []
    for projection in view.expressions:
        value, lost = guard.value(projection)
        projections.append(value)
        failed = either(failed, lost)
    counted = call("sumSimpleState", call("toUInt64", failed if failed is not None else 0))
    view.set("expressions", [*projections, exp.alias_(counted, quote(FAILED))])
    left = throwing(view)
    if left is not None:
        raise UncountableError(left)
    return view


def _mapped(select: exp.Select, flags: dict[str, str]) -> dict[str, str]:
    """Guards one select of the stream, in place; ``flags`` and the result map columns that may have failed to those
    that say so, "" being the row as a whole.

    A row that failed goes on to the select above, whose condition may still leave it out, as it may in batch.
    """
    if any(isinstance(p, exp.Star) for p in select.expressions):
        # A star hands the hidden columns on by itself; one more could not be told from them.
        if len(select.expressions) > 1 or select.args.get("where") is not None:
            raise UncountableError("a column under a star")
        return flags
    projections: list[exp.Expr] = []
    found: dict[str, str] = {}
    row = either(_guarded_filter(select, flags), *_below(select, flags))
    if row is not None:
        found[""] = f"{FAILED}_0"
        projections.append(_flag(row, found[""]))
    guard = Guard(_source(select), flags)
    for projection in select.expressions:
        value, lost = guard.value(projection)
        projections.append(value)
        if lost is not None:
            found[projection.alias_or_name] = f"{FAILED}_{len(projections)}"
            projections.append(_flag(lost, found[projection.alias_or_name]))
    select.set("expressions", projections)
    return found


def _flag(failed: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(call("toUInt8", failed), quote(name))


def _below(select: exp.Select, flags: dict[str, str]) -> list[exp.Expr]:
    """Whether any column below failed: it is computed for every row that gets here, whoever reads it."""
    return [column(flag, _source(select)) for flag in flags.values()]


def _guarded_filter(select: exp.Select, flags: dict[str, str]) -> exp.Expr | None:
    """Guards the condition of ``select``, in place, so that a row on which it fails stays; what says that it did."""
    guard = Guard(_source(select), flags)
    for join in select.args.get("joins") or []:
        if guard.value(join)[1] is not None:
            raise UncountableError(throwing(join) or "a list that may fail")
    where = select.args.get("where")
    if where is None:
        return None
    condition, failed = guard.condition(where.this)
    if failed is not None:
        select.set("where", exp.Where(this=form("(c) OR f", c=condition, f=failed)))
    return failed


def _guard_keys(view: exp.Select, flags: dict[str, str]) -> None:
    """UncountableError where a key may fail: no group could be told from the others to hold the row."""
    group = view.args.get("group")
    guard = Guard(_source(view), flags)
    for key in group.expressions if group is not None else []:
        if guard.value(key)[1] is not None:
            raise UncountableError(throwing(key) or "a key that may fail")


def _source(select: exp.Select) -> str:
    name: str = select.args["from_"].this.alias_or_name
    return name


def _raising(read: exp.Select, model: str, reason: str) -> exp.Select:
    """``read`` with the error where a group that it gives holds a failed row: in HAVING, which is always computed."""
    read = read.copy()
    why = f"model {model}: {reason} failed on a row, as it does in batch"
    raised = form("throwIf(sum(n) > 0, why) = 0", n=column(FAILED, PLACEHOLDER), why=why)
    having = read.args.get("having")
    condition = raised if having is None else form("a AND (b)", a=raised, b=having.this)
    read.set("having", exp.Having(this=condition))
    return read
