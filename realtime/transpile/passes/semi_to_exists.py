"""SEMI and ANTI joins to EXISTS: sqlglot's qualify loses their columns otherwise."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.lower import refused


def semi_to_exists(tree: exp.Query) -> exp.Query:
    """Rewrites every SEMI and ANTI join of ``tree`` in place."""
    for join in list(tree.find_all(exp.Join)):
        if join.kind not in ("SEMI", "ANTI"):
            continue
        select = join.parent
        condition = join.args.get("on")
        if not isinstance(select, exp.Select) or condition is None:
            raise refused(join, f"{join.kind} JOIN without ON", remedy="write the condition with ON")
        exists: exp.Expr = exp.Exists(this=exp.select("1").from_(join.this.copy()).where(condition.copy()))
        if join.kind == "ANTI":
            exists = exp.Not(this=exists)
        join.pop()
        select.where(exists, copy=False)
    return tree
