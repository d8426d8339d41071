"""Gives every expression of a qualified DuckDB tree the type that DuckDB's binder gives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from sqlglot import exp

from realtime.errors import RefusedError
from realtime.project.binder import Binder
from realtime.transpile.scopes import Scopes, ask_once, note_untyped, visible_ctes
from realtime.transpile.types import DuckType

_UNTYPED = (
    exp.Alias, exp.Identifier, exp.Star, exp.Var, exp.DataType, exp.Ordered, exp.Order, exp.WindowSpec, exp.TableAlias,
    exp.Table, exp.From, exp.Join, exp.Where, exp.Having, exp.Group, exp.Qualify, exp.Limit, exp.Offset, exp.With,
    exp.CTE, exp.Lambda, exp.JSONPath, exp.JSONPathPart, exp.Select, exp.SetOperation, exp.Values, exp.Rollup, exp.Cube,
    exp.GroupingSets, exp.Distinct, exp.Unnest, exp.Any, exp.All, exp.Kwarg, exp.PropertyEQ, exp.IntervalSpan,
)  # fmt: skip
_Tree = TypeVar("_Tree", bound=exp.Expr)
_WRAPPERS = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)


def annotate(tree: exp.Query, binder: Binder) -> exp.Query:
    """Sets ``meta["duck"]`` of every expression in ``tree`` to its `DuckType`, in place.

    ``tree`` is qualified and its table aliases are unique over the whole statement. An expression
    that can't be typed alone (a unit, a star) has no entry.
    """
    scopes = Scopes(binder, lambda select: _annotate_select(select, binder, scopes))
    for query in tree.find_all(exp.Select, exp.SetOperation):
        found = scopes.outputs(query)
        if found is not None and isinstance(query, exp.SetOperation):
            query.meta["outputs"] = found
    return tree


def _annotate_select(select: exp.Select, binder: Binder, scopes: Scopes) -> None:
    nodes = [n for n in own_nodes(select) if not isinstance(n, _UNTYPED)]
    for node in nodes:
        found = scopes.column(node, select) if isinstance(node, exp.Column) and node.table else None
        if found is not None:
            node.meta["duck"] = found
    aliases = {id(n) for n in nodes if _is_alias(n)}
    shown = [n for n in nodes if id(n) in aliases]
    nodes = [n for n in nodes if n.meta_get("duck") is None and id(n) not in aliases]
    collecting = _collecting(nodes)
    plain = ask_once([n for n in nodes if id(n) not in collecting], False, binder)
    grouped = ask_once([n for n in nodes if id(n) in collecting], True, binder)
    nodes = plain + grouped
    for depth in sorted({_lambda_depth(n) for n in nodes}):
        for batch, group in ((plain, None), (grouped, select.args.get("group"))):
            probe([n for n in batch if _lambda_depth(n) == depth], select, group, binder)
    for node in (*shown, *nodes):
        if "duck" not in node.meta and isinstance(node, exp.Column) and not node.table:
            _from_projection(node, select)
    note_untyped(nodes, binder)


def own_nodes(select: exp.Select) -> Iterator[exp.Expr]:
    """Expressions of ``select`` itself: nested queries are yielded where they stand, not entered."""
    for root in _roots(select):
        yield from root.walk(prune=lambda n: isinstance(n, exp.Query))


def _roots(select: exp.Select) -> Iterable[exp.Expr]:
    yield from select.expressions
    for part in ("where", "group", "having", "qualify", "order", "limit", "offset", "distinct"):
        if select.args.get(part) is not None:
            yield select.args[part]
    yield from select.args.get("windows") or []
    for join in select.args.get("joins") or []:
        if join.args.get("on") is not None:
            yield join.args["on"]
        if isinstance(join.this, exp.Unnest):
            yield from join.this.expressions
    origin = select.args.get("from_")
    if origin is not None and isinstance(origin.this, exp.Unnest):
        yield from origin.this.expressions


def aggregated(node: exp.Expr) -> bool:
    """Whether ``node`` holds an aggregate of its own select (not one of a nested query or a window's own)."""
    for inner in node.walk(prune=lambda n: isinstance(n, exp.Query)):
        if is_aggregate(inner) and not _windowed(inner):
            return True
    return False


def _collecting(nodes: Iterable[exp.Expr]) -> set[int]:
    """The ids of those of ``nodes``, which are all of a select that have no type yet, that hold an aggregate
    ."""
    found: set[int] = set()
    for node in nodes:
        if is_aggregate(node) and not _windowed(node):
            at: exp.Expr | None = node
            while at is not None and not isinstance(at, exp.Query) and id(at) not in found:
                found.add(id(at))
                at = at.parent
    return found


def is_aggregate(node: exp.Expr) -> bool:
    """Whether ``node`` is an aggregate call (also where it stands in a window)."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in ANONYMOUS_AGGREGATES
    return isinstance(node, exp.AggFunc) and not isinstance(node, WINDOW_FUNCTIONS)


ANONYMOUS_AGGREGATES = frozenset(
    """
arg_max_null arg_max_nulls_last arg_min_null arg_min_nulls_last bitstring_agg combine_aggr entropy favg
histogram histogram_exact kahan_sum kurtosis_pop lttb mad product reservoir_quantile sem sum_no_overflow
variant_group_object
""".split()  # noqa: SIM905 - a list of quoted names would fill a page
)
"""Aggregates of DuckDB that sqlglot has no node for."""
WINDOW_FUNCTIONS = (
    exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile,
    exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue,
)  # fmt: skip


def above_aggregates(part: exp.Expr) -> Iterator[exp.Expr]:
    """What of ``part`` of a select is computed of its groups: neither arguments of aggregates nor nested queries."""
    return part.walk(prune=lambda n: isinstance(n, exp.Query) or _collects(n))


def _collects(node: exp.Expr) -> bool:
    while isinstance(node, _WRAPPERS):
        node = node.this
    return is_aggregate(node) and not _windowed(node)


def _windowed(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, _WRAPPERS):
        parent = parent.parent
    return isinstance(parent, exp.Window) and parent.this is not None and node in list(parent.this.walk())


def probe(nodes: list[exp.Expr], select: exp.Select, group: exp.Expr | None, binder: Binder) -> None:
    """Types ``nodes`` with one question to the binder, or, where that fails, one each."""
    if not nodes:
        return
    for around in _surroundings(select, group):
        try:
            types = _ask([_standalone(n) for n in nodes], around, binder)
        except RefusedError:
            continue
        if len(types) != len(nodes):  # DuckDB unnests a struct into a column for each field
            break
        for node, found in zip(nodes, types, strict=True):
            node.meta["duck"] = found
        return
    if len(nodes) > 1:
        middle = len(nodes) // 2
        probe(nodes[:middle], select, group, binder)
        probe(nodes[middle:], select, group, binder)


def _ask(nodes: list[exp.Expr], around: exp.Select, binder: Binder) -> list[DuckType]:
    question = without_params(around)
    question.set("expressions", [exp.alias_(n, f"_{i}", quoted=True) for i, n in enumerate(nodes)])
    return [t for _, t in binder.describe(question.sql("duckdb"))]


def _surroundings(select: exp.Select, group: exp.Expr | None) -> Iterator[exp.Select]:
    """``FROM`` (and ``GROUP BY``) to ask in: the select's own, then with those of the selects around it."""
    question = exp.Select()
    ctes = visible_ctes(select)
    if ctes:
        recursive = any(c.parent is not None and c.parent.args.get("recursive") for c in ctes)
        question.set("with_", exp.With(expressions=[without_params(c) for c in ctes], recursive=recursive))
    _add_sources(question, select)
    if group is not None:
        question.set("group", group.copy())
    if select.args.get("windows"):
        question.set("windows", [w.copy() for w in select.args["windows"]])
    yield question
    outer = select.find_ancestor(exp.Select)
    while outer is not None:
        question = question.copy()
        _add_sources(question, outer)
        yield question
        outer = outer.find_ancestor(exp.Select)


def _add_sources(question: exp.Select, select: exp.Select) -> None:
    origin = select.args.get("from_")
    if origin is None:
        return
    joins = [j.copy() for j in select.args.get("joins") or []]
    if question.args.get("from_") is None:
        question.set("from_", origin.copy())
        question.set("joins", joins)
        question.set("laterals", [x.copy() for x in select.args.get("laterals") or []])
    else:
        cross = exp.Join(this=origin.this.copy(), kind="CROSS")
        question.set("joins", [*(question.args.get("joins") or []), cross, *joins])


def without_params(tree: _Tree) -> _Tree:
    """A copy that DuckDB binds without values: parameters are NULL."""
    copy = tree.copy()
    for param in list(copy.find_all(exp.Parameter, exp.Placeholder)):
        param.replace(exp.null())
    return copy


def _standalone(node: exp.Expr) -> exp.Expr:
    """A copy that binds alone: parameters become NULL, a lambda's own names typed NULLs."""
    copy = node.copy()
    bound = _lambda_types(node)
    for inner in list(copy.find_all(exp.Parameter, exp.Placeholder)):
        copy = _replaced(copy, inner, exp.null())
    for inner in list(copy.find_all(exp.Column)):
        if not inner.table and inner.name in bound:
            null = exp.cast(exp.null(), bound[inner.name], dialect="duckdb")
            copy = _replaced(copy, inner, null)
    return copy


def _replaced(root: exp.Expr, node: exp.Expr, by: exp.Expr) -> exp.Expr:
    if node is root:
        return by
    node.replace(by)
    return root


def _lambda_depth(node: exp.Expr) -> int:
    """How many lambdas stand around ``node``: outer ones are typed first, inner ones need their types."""
    depth, at = 0, node.parent
    while at is not None and not isinstance(at, exp.Query):
        depth += isinstance(at, exp.Lambda)
        at = at.parent
    return depth


def _lambda_types(node: exp.Expr) -> dict[str, str]:
    """Types of the lambda parameters in scope at ``node``: the elements of the list they run over, and their places."""
    types: dict[str, str] = {}
    at = node.parent
    while at is not None and not isinstance(at, exp.Query):
        if isinstance(at, exp.Lambda) and at.parent is not None:
            over = at.parent.this.meta.get("duck") if isinstance(at.parent.this, exp.Expr) else None
            if isinstance(over, DuckType) and over.element is not None:
                types[at.expressions[0].name] = over.element.name
                types |= {place.name: "BIGINT" for place in at.expressions[1:]}
        at = at.parent
    return types


def _is_alias(node: exp.Expr) -> bool:
    """Whether ``node`` is a name alone in ORDER BY: an alias of the select list, whatever the tables have."""
    if not isinstance(node, exp.Column) or node.table:
        return False
    at = node.parent
    while isinstance(at, exp.Paren):
        at = at.parent
    order = at.parent if isinstance(at, exp.Ordered) else None
    return order is not None and isinstance(order.parent, exp.Select)


def _from_projection(node: exp.Column, select: exp.Select) -> None:
    """An alias of the select list, as ORDER BY may name it."""
    for projection in select.expressions:
        if projection.alias_or_name == node.name and "duck" in projection.unalias().meta:
            node.meta["duck"] = projection.unalias().meta["duck"]
