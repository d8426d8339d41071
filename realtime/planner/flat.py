"""A query over a stream, written over the columns of its landing table: so that two queries can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from sqlglot import exp

from realtime.emit.readable import readable
from realtime.planner.ctes import resolve
from realtime.planner.relations import stored_in
from realtime.transpile.form import column, parse_exactly, wrapped

Node = TypeVar("Node", bound=exp.Expr)
ROW = "_row"
"""The alias of the landing table."""
_MOST_NODES = 5_000
_PARTS = frozenset({"expressions", "from_", "where", "with_", "settings"})


class NotFlatError(Exception):
    """Why a query can't be written so."""


@dataclasses.dataclass(frozen=True)
class Flat:
    """Rows of ``landing`` that meet all ``filters``; ``columns`` and ``groups`` are expressions over them."""

    landing: str
    filters: tuple[exp.Expr, ...]
    columns: Mapping[str, exp.Expr]
    groups: tuple[exp.Expr, ...] = ()


def flat(text: str) -> Flat:
    """``text``, ClickHouse SQL that the compiler wrote: a select, grouped or not, over a stream without UNION ALL.

    NotFlatError where it is more than that.
    """
    tree = parse_exactly(text)
    if readable(tree) != text:
        raise NotFlatError("SQL that is not read as it was written")
    if not isinstance(tree, exp.Select):
        raise NotFlatError("a union")
    group = tree.args.get("group")
    found = _select(tree, {*_PARTS, "group"})
    over = _Columns(tree, found.columns_below)
    return Flat(found.landing, found.filters, found.columns, tuple(map(over, group.expressions if group else ())))


class FlatViews:
    """The SQL of views as `flat`, each looked at once; None for one that is more than that."""

    def __init__(self) -> None:
        self._found: dict[str, Flat | None] = {}

    def get(self, text: str) -> Flat | None:
        if text not in self._found:
            try:
                self._found[text] = flat(text)
            except NotFlatError:
                self._found[text] = None
        return self._found[text]


@dataclasses.dataclass(frozen=True)
class _Level:
    """One select of the stream; ``columns_below`` are those that it reads, None where that is the landing table."""

    landing: str
    filters: tuple[exp.Expr, ...]
    columns: Mapping[str, exp.Expr]
    columns_below: Mapping[str, exp.Expr] | None


class _Columns:
    """Writes expressions of ``select`` over the landing table's columns."""

    def __init__(self, select: exp.Select, below: Mapping[str, exp.Expr] | None) -> None:
        self._alias, self._below = select.args["from_"].this.alias_or_name, below

    def __call__(self, node: exp.Expr) -> exp.Expr:
        if node.find(exp.Query) is not None or any(n.name.lower() == "arrayjoin" for n in node.find_all(exp.Anonymous)):
            raise NotFlatError("a query or an unnested list in an expression")
        made = rewritten(
            node, exp.Column, lambda c: wrapped(self._named(c.name), c.parent) if c.table == self._alias else c
        )
        if sum(1 for _ in made.walk()) > _MOST_NODES:
            raise NotFlatError("an expression that is too large")
        return made

    def _named(self, name: str) -> exp.Expr:
        if self._below is None:
            return column(name, ROW)
        if name not in self._below:
            raise NotFlatError(f"column {name} of what it reads")
        return self._below[name].copy()


def _select(select: exp.Select, parts: set[str] | frozenset[str] = _PARTS) -> _Level:
    unknown = {k for k, v in select.args.items() if v not in (None, False, [])} - parts
    if unknown or select.args.get("from_") is None:
        raise NotFlatError(f"{', '.join(sorted(unknown)) or 'no table'} in a stream")
    landing, filters, below = _source(select.args["from_"].this)
    over = _Columns(select, below)
    where = select.args.get("where")
    own = tuple(over(c) for c in conditions(where.this)) if where is not None else ()
    if len(select.expressions) == 1 and isinstance(select.expressions[0], exp.Star) and below is not None:
        return _Level(landing, filters + own, below, below)
    if any(isinstance(p.unalias(), exp.Star) for p in select.expressions):
        raise NotFlatError("a star")
    columns = {p.alias_or_name: over(p.unalias()) for p in select.expressions}
    return _Level(landing, filters + own, columns, below)


def _source(source: exp.Expr) -> tuple[str, tuple[exp.Expr, ...], Mapping[str, exp.Expr] | None]:
    """The landing table below ``source``, what its rows must meet, and its columns."""
    table = stored_in(source)
    if table is not None:
        return f"{table.db}.{table.name}", (), None
    query: exp.Expr | None = source.this if isinstance(source, exp.Subquery) else None
    if isinstance(source, exp.Table) and (cte := resolve(source)) is not None:
        query = cte.this
    if not isinstance(query, exp.Select):
        raise NotFlatError("a union")
    level = _select(query)
    return level.landing, level.filters, level.columns


def conditions(node: exp.Expr) -> Iterator[exp.Expr]:
    """The conditions that are joined by AND."""
    inner = node.unnest()
    if isinstance(inner, exp.And):
        yield from conditions(inner.left)
        yield from conditions(inner.right)
    else:
        yield inner


def alternatives(node: exp.Expr) -> Iterator[exp.Expr]:
    """The conditions that are joined by OR."""
    inner = node.unnest()
    if isinstance(inner, exp.Or):
        yield from alternatives(inner.left)
        yield from alternatives(inner.right)
    else:
        yield inner


def bare(node: exp.Expr) -> exp.Expr:
    """``node`` in the form in which equal expressions are equal: without parentheses, of which the tree has no need."""
    return rewritten(node, exp.Paren, lambda found: found.this)


def rewritten(tree: exp.Expr, kind: type[Node], replace: Callable[[Node], exp.Expr]) -> exp.Expr:
    """A copy of ``tree`` with ``replace(node)`` in place of each node of ``kind``, those inside of others too."""
    root = exp.Tuple(expressions=[tree.copy()])
    for found in list(root.find_all(kind)):
        made = replace(found)
        if made is not found:
            found.replace(made)
    whole: exp.Expr = root.expressions[0]
    whole.pop()
    return whole
