"""``COLUMNS(…)`` and ``* LIKE …`` in a select list to one column or expression each, as DuckDB finds them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from realtime.project.binder import Binder
from realtime.transpile.annotate import without_params
from realtime.transpile.lower import refused
from realtime.transpile.scopes import is_recursive, visible_ctes

_PATTERNS = (exp.Like, exp.ILike, exp.SimilarTo, exp.Glob, exp.Not)


def expand_columns(tree: exp.Query, binder: Binder) -> exp.Query:
    """Rewrites every such projection of ``tree``, whose names are as authored, in place; RefusedError elsewhere."""
    for select in reversed(list(tree.find_all(exp.Select))):
        projections: list[exp.Expr] = []
        for projection in select.expressions:
            found = _named(projection)
            projections += _each(projection, found, select, binder) if found is not None else [projection]
        select.set("expressions", projections)
    for node in tree.find_all(exp.Columns):
        if not isinstance(node.parent, exp.Pivot):
            raise refused(node, "COLUMNS(…) outside a select list, or unpacked", remedy="name the columns")
    return tree


def _named(projection: exp.Expr) -> exp.Expr | None:
    """What in ``projection`` stands for several columns; None for other projections, a star among them."""
    found = projection.find(exp.Columns)
    if found is not None:
        return None if isinstance(found.parent, exp.Star) or found.args.get("unpack") else found
    bare = projection
    while isinstance(bare, _PATTERNS):
        bare = bare.this
    return projection if bare is not projection and isinstance(bare, exp.Star) else None


def _each(projection: exp.Expr, found: exp.Expr, select: exp.Select, binder: Binder) -> list[exp.Expr]:
    names = [n for n, _ in binder.describe(_over(found, select, ("from_",)))]
    shown = names if found is projection else [n for n, _ in binder.describe(_over(projection, select, _CLAUSES))]
    several = [node for node in projection.find_all(type(found)) if node == found]
    if len(shown) != len(names) or len(list(projection.find_all(exp.Columns))) > len(several):
        raise refused(found, "several COLUMNS(…) in one expression", remedy="name the columns")
    out = []
    for name, alias in zip(names, shown, strict=True):
        holder = exp.Paren(this=projection.unalias().copy())
        for node in [n for n in holder.find_all(type(found)) if n == found]:
            node.replace(exp.column(name, quoted=True))
        out.append(exp.alias_(holder.this.copy(), alias, quoted=True))
    return out


_CLAUSES = ("from_", "group", "windows")


def _over(projection: exp.Expr, select: exp.Select, clauses: Sequence[str]) -> str:
    """A query of ``projection`` that DuckDB can describe, over what ``select`` reads."""
    question = exp.Select(expressions=[projection.copy()])
    for part in clauses:
        if select.args.get(part) is not None:
            value = select.args[part]
            question.set(part, [v.copy() for v in value] if isinstance(value, list) else value.copy())
    question.set("joins", [j.copy() for j in select.args.get("joins") or []])
    ctes = visible_ctes(select)
    if ctes:
        recursive = any(is_recursive(c) for c in ctes)
        question.set("with_", exp.With(expressions=[c.copy() for c in ctes], recursive=recursive))
    return without_params(question).sql("duckdb")
