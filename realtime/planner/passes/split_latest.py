"""Splits "the newest row per key" between insert and read.

``row_number() over (partition by k order by v desc) = 1`` over a stream becomes an ``argMax`` state per key.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.planner.ctes import resolve, standalone
from realtime.planner.passes.drop_unused import drop_unused
from realtime.planner.passes.pick_branch import pick_branch
from realtime.planner.passes.split_aggregate import PLACEHOLDER, UPDATED_AT, Split, with_updated_at
from realtime.planner.streams import own_expressions
from realtime.transpile.form import call, column, form, number, quote

_ROW = "_row"
_HIDDEN = (_ROW, UPDATED_AT)


def is_latest(select: exp.Select) -> bool:
    """Whether ``select`` numbers rows per key and only number 1 is ever read."""
    window = _window(select)
    if window is None or not window.args.get("partition_by") or not _one_direction(window):
        return False
    if any(select.args.get(p) for p in ("group", "having", "distinct", "limit", "offset", "windows")):
        return False
    numbers = _numbers(select)
    if any(p.find(exp.Window) for p in select.expressions if p.alias_or_name not in numbers):
        return False
    qualify = select.args.get("qualify")
    if qualify is not None:
        return _is_first(qualify.this, window)
    return len(numbers) == 1 and _read_for_first_only(select, numbers[0])


def split_latest(select: exp.Select) -> Split:
    """The split of ``select`` (see `is_latest`), which is left as it is."""
    window = _window(select)
    assert window is not None
    keys = {k: f"key_{i}" for i, k in enumerate(window.args["partition_by"], start=1)}
    shown = {p.unalias(): p.alias_or_name for p in reversed(select.expressions) if p.alias_or_name not in _HIDDEN}
    keys = {k: shown.get(k, name) for k, name in keys.items()}
    numbers = _numbers(select)
    payload = [p for p in select.expressions if p.unalias() not in keys and p.alias_or_name not in numbers]
    view = standalone(select)
    assert isinstance(view, exp.Select)
    view.set("qualify", None)
    view.set("group", exp.Group(expressions=[k.copy() for k in keys]))
    newest = call(_function(window) + "State", _payload(payload), _rank(window))
    projections = [exp.alias_(k.copy(), quote(n)) for k, n in keys.items()]
    view.set("expressions", [*projections, exp.alias_(newest, quote(_ROW))])
    views = tuple(with_updated_at(drop_unused(branch)) for branch in pick_branch(view))
    return Split(views=views, read=_read(select, keys, payload, window), keys=tuple(keys.values()), latest=True)


def _window(select: exp.Select) -> exp.Window | None:
    """The window of ``select`` if there is one only (written once or again) and it is ``row_number()``, no frame."""
    windows = list(own_expressions(select, exp.Window))
    first = windows[0] if windows else None
    if first is None or any(w != first for w in windows) or first.args.get("spec") or first.this.name != "row_number":
        return None
    return first


def _one_direction(window: exp.Window) -> bool:
    """Whether all order keys go the same way, NULLs last: then tuples compare as the window orders."""
    order = window.args.get("order")
    keys = order.expressions if order is not None else []
    return bool(keys) and len({bool(k.args.get("desc")) for k in keys}) == 1 and not any(_nulls_first(k) for k in keys)


def _nulls_first(key: exp.Ordered) -> bool:
    return bool(key.args.get("nulls_first"))


def _is_first(condition: exp.Expr, numbered: exp.Expr) -> bool:
    """``numbered = 1`` or ``numbered <= 1``, casts and parentheses aside."""
    condition = condition.unnest()
    if not isinstance(condition, (exp.EQ, exp.LTE)):
        return False
    return _bare(condition.left) == _bare(numbered) and _bare(condition.right) == number(1)


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Paren) or (isinstance(node, exp.Anonymous) and node.expressions and _converts(node)):
        node = node.this if isinstance(node, exp.Paren) else node.expressions[0]
    return node


def _converts(node: exp.Anonymous) -> bool:
    return node.name == "CAST" or node.name.startswith(("toInt", "toUInt"))


def _numbers(select: exp.Select) -> list[str]:
    """Names of the projections that are the row number itself."""
    window = _window(select)
    return [p.alias_or_name for p in select.expressions if _bare(p.unalias()) == window]


def _read_for_first_only(select: exp.Select, number_of: str) -> bool:
    """Whether the one query that reads ``select`` keeps only rows whose column ``number_of`` is 1."""
    reader = _reader(select)
    if reader is None or reader[0].args.get("where") is None:
        return False
    query, alias = reader
    where = query.args["where"].this
    conditions = where.flatten() if isinstance(where, exp.And) else [where]
    return any(_is_first(c, column(number_of, alias)) for c in conditions)


def _reader(select: exp.Select) -> tuple[exp.Select, str] | None:
    """The only select that reads ``select`` (as subquery or CTE) and the alias by which it does."""
    parent = select.parent
    if isinstance(parent, exp.Subquery) and isinstance(parent.parent, exp.From):
        outer = parent.parent.parent
        return (outer, parent.alias) if isinstance(outer, exp.Select) and not outer.args.get("joins") else None
    if not isinstance(parent, exp.CTE):
        return None
    uses = [t for t in parent.root().find_all(exp.Table) if resolve(t) is parent]
    if len(uses) != 1 or not isinstance(uses[0].parent, exp.From):
        return None
    outer = uses[0].parent.parent
    return (outer, uses[0].alias_or_name) if isinstance(outer, exp.Select) and not outer.args.get("joins") else None


def _function(window: exp.Window) -> str:
    return "argMax" if window.args["order"].expressions[0].args.get("desc") else "argMin"


def _rank(window: exp.Window) -> exp.Expr:
    """The order keys as one comparable value. NULLs come last: below everything for argMax, above it for argMin."""
    function = _function(window)
    parts: list[exp.Expr] = []
    for key in window.args["order"].expressions:
        parts.append(form("isNotNull(x)" if function == "argMax" else "isNull(x)", x=key.this))
        parts.append(key.this.copy())
    return call("tuple", *parts)


def _payload(projections: list[exp.Expr]) -> exp.Expr:
    return call("tuple", *(p.unalias().copy() for p in projections))


def _read(select: exp.Select, keys: dict[exp.Expr, str], payload: list[exp.Expr], window: exp.Window) -> exp.Select:
    """One row per key: the payload taken apart again, in the order of the select list."""
    merged = call(_function(window) + "Merge", column(_ROW, PLACEHOLDER))
    merged.meta["component"] = True
    places = {id(p): i for i, p in enumerate(payload, start=1)}
    projections = []
    for projection in select.expressions:
        value: exp.Expr
        if id(projection) in places:
            value = call("tupleElement", merged, places[id(projection)])
        elif projection.unalias() in keys:
            value = column(keys[projection.unalias()], PLACEHOLDER)
        else:
            value = call("toInt64", 1)
        projections.append(exp.alias_(value, quote(projection.alias_or_name)))
    read = exp.Select(expressions=projections)
    read.set("from_", exp.From(this=exp.Table(this=quote(PLACEHOLDER), alias=exp.TableAlias(this=quote(PLACEHOLDER)))))
    read.set("group", exp.Group(expressions=[column(n, PLACEHOLDER) for n in keys.values()]))
    return read
