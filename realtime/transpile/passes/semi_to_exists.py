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
        condition, using = join.args.get("on"), join.args.get("using") or []
        if not isinstance(select, exp.Select) or (condition is None and not using):
            raise refused(join, f"{join.kind} JOIN without ON", remedy="write the condition with ON")
        if using and any(_shares(other) for other in select.args["joins"] if other is not join):
            raise refused(join, f"{join.kind} JOIN with USING beside another", remedy="write the condition with ON")
        query = exp.select("1").from_(join.this.copy()).where(condition.copy()) if condition else _matching(join, using)
        exists: exp.Expr = exp.Exists(this=query)
        if join.kind == "ANTI":
            exists = exp.Not(this=exists)
        join.pop()
        select.where(exists, copy=False)
    return tree


def _shares(join: exp.Join) -> bool:
    """Whether ``join`` makes one column of two, of which none would be the other's."""
    is_natural = (join.args.get("method") or "").upper() == "NATURAL"
    return join.kind not in ("SEMI", "ANTI") and bool(join.args.get("using") or is_natural)


def _matching(join: exp.Join, using: list[exp.Identifier]) -> exp.Select:
    """The rows of ``join`` with the columns ``using`` of the row around them; these have no other table to be of."""
    names = [f"_using_{i}" for i in range(len(using))]
    keys = exp.select(*(exp.alias_(exp.column(k.copy()), n) for k, n in zip(using, names, strict=True)))
    same = [exp.EQ(this=exp.column(n), expression=exp.column(k.copy())) for k, n in zip(using, names, strict=True)]
    return exp.select("1").from_(keys.from_(join.this.copy()).subquery("_semi")).where(*same)
