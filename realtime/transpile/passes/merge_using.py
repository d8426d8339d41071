"""``a FULL JOIN b USING (k) JOIN c USING (k)`` joins ``c`` on ``coalesce(a.k, b.k)``; sqlglot's qualify takes
``a.k``."""

from __future__ import annotations

from sqlglot import exp

_MARK = "using"
_NULL_EXTENDED = ("RIGHT", "FULL")


def mark_using(tree: exp.Query) -> exp.Query:
    """Marks the joins of ``tree`` that share columns, before qualify writes them as conditions."""
    for join in tree.find_all(exp.Join):
        if join.args.get("using") or (join.args.get("method") or "").upper() == "NATURAL":
            join.meta[_MARK] = True
    return tree


def merge_using(tree: exp.Query) -> exp.Query:
    """Rewrites in place the conditions of marked joins that follow a RIGHT or FULL one with the same column."""
    for select in list(tree.find_all(exp.Select)):
        merged: dict[str, tuple[list[exp.Column], bool]] = {}
        for join in select.args.get("joins") or []:
            if join.meta_get(_MARK) and join.args.get("on") is not None:
                _merge(join, merged)
    return tree


def _merge(join: exp.Join, merged: dict[str, tuple[list[exp.Column], bool]]) -> None:
    """``merged`` are the columns joined so far by their name, and whether the first of them may be missing."""
    condition = join.args["on"]
    parts = list(condition.flatten()) if isinstance(condition, exp.And) else [condition]
    for part in parts:
        equal = part.unnest()
        own, left = equal.expression, equal.this
        columns, missing = merged.get(own.name, ([], False))
        if missing:
            left.replace(exp.Coalesce(this=columns[0].copy(), expressions=[c.copy() for c in columns[1:]]))
        elif not columns:
            columns = [left.copy()]
        merged[own.name] = ([*columns, own.copy()], missing or join.side in _NULL_EXTENDED)
    if join.args.get("method") == "ASOF":  # the last column is the one that may be later
        last = parts[-1].unnest()
        last.replace(exp.GTE(this=last.this.copy(), expression=last.expression.copy()))
