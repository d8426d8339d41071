"""Conditions on rows of a cluster, put where these are read, so that each shard sends only what meets them.

ClickHouse 26.7 does so by itself, but writes a moment as a number of seconds that the shards can't read back unless it
has nine or ten digits: compared with one before 1973 or after 2286, all of their rows were left out without a word.
So it is told not to, and what is written here goes to the shards as it stands. The conditions stay where they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from sqlglot import exp

from realtime.planner.merge_selects import is_scalar
from realtime.planner.selects import conditions_of, relations_of
from realtime.planner.throws import HARMLESS
from realtime.transpile.form import quote
from realtime.transpile.settings import only_settings

Tree = TypeVar("Tree", bound=exp.Expr)
_AS_WRITTEN = "allow_push_predicate_ast_for_distributed_subqueries"


def from_shards(select: exp.Select) -> exp.Select:
    """``select``, which reads a table over all shards, so that they are sent no other conditions than its own."""
    only_settings(select, {_AS_WRITTEN: 0})
    return select


def is_from_shards(select: exp.Expr | None) -> bool:
    """Whether ``select`` is one of `from_shards`."""
    settings = select.args.get("settings") if isinstance(select, exp.Select) else None
    return [setting.this.name for setting in settings or ()] == [_AS_WRITTEN]


def push_conditions(tree: Tree) -> Tree:
    """``tree``, in place, with the conditions of its selects also in those of `from_shards` that they read."""
    for select in list(tree.find_all(exp.Select)):
        relations = relations_of(select)
        if not relations or any(_leaves_out(join) for join in select.args.get("joins") or ()):
            continue
        alias = relations[0].alias_or_name
        found = [c for c in conditions_of(select.args.get("where")) if _may_move(c, alias)]
        if found:
            _push(relations[0], alias, found)
    return tree


def _leaves_out(join: exp.Join) -> bool:
    """Whether rows of the first relation are not all that WHERE is asked of."""
    return join.side not in ("", "LEFT") or bool(join.method) or join.kind not in ("", "INNER", "OUTER", "CROSS")


def _may_move(condition: exp.Expr, alias: str) -> bool:
    """Whether each row can be asked by itself, before all others: it is of ``alias`` alone, and fails on none."""
    columns = list(condition.find_all(exp.Column))
    if not columns or any(c.table != alias for c in columns) or condition.find(exp.Query):
        return False
    # What is made of constants alone is computed once, wherever it stands.
    harmless = all(n.name in HARMLESS or n.find(exp.Column) is None for n in condition.find_all(exp.Anonymous))
    return harmless and is_scalar(condition)


def _push(relation: exp.Expr, alias: str, conditions: list[exp.Expr]) -> None:
    """Adds ``conditions`` on columns of ``alias`` to what ``relation``, which has that name, reads from shards."""
    inner = relation.this if isinstance(relation, exp.Subquery) else None
    if not isinstance(inner, exp.Select) or not is_from_shards(inner):
        return
    source = inner.args["from_"].this
    if inner.is_star:
        moved = [condition.copy() for condition in conditions]
        source.set("alias", exp.TableAlias(this=quote(alias)))
    else:
        shown = {p.alias_or_name: p.unalias() for p in inner.expressions}
        moved = [m for condition in conditions if (m := _over(condition, shown)) is not None]
    there = list(conditions_of(inner.args.get("where")))
    inner.where(*(condition for condition in moved if condition not in there), copy=False)
    _push(source, source.alias_or_name, [c for c in moved if _may_move(c, source.alias_or_name)])


def _over(condition: exp.Expr, shown: Mapping[str, exp.Expr]) -> exp.Expr | None:
    """``condition`` over the columns that ``shown`` ones are; None where one is more than a column."""
    moved = exp.Paren(this=condition.copy())
    for found in list(moved.find_all(exp.Column)):
        below = shown.get(found.name)
        if not isinstance(below, exp.Column):
            return None
        found.replace(below.copy())
    inside: exp.Expr = moved.this
    return inside.pop()
