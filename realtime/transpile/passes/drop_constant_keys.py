"""``GROUP BY key, 'constant'`` to ``GROUP BY key``, ``GROUP BY 'constant'`` to ``HAVING count(*) > 0``.

Positions are resolved already, so a literal groups nothing: of some rows it makes one, and none of none.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.lower import refused


def drop_constant_keys(tree: exp.Query) -> exp.Query:
    """Rewrites every GROUP BY of ``tree`` in place; RefusedError where it has no other key beside windows."""
    for group in list(tree.find_all(exp.Group)):
        keys = [k for k in group.expressions if not isinstance(k, (exp.Literal, exp.Null, exp.Boolean))]
        if group.expressions and not keys:
            _drop(group)
        group.set("expressions", keys)
    return tree


def _drop(group: exp.Group) -> None:
    select = group.parent
    assert isinstance(select, exp.Select)
    if any(group.args.get(kind) for kind in ("rollup", "cube", "grouping_sets")) or select.find(exp.Window):
        raise refused(group, "GROUP BY nothing but constants", remedy="drop GROUP BY, or group by a column")
    some = exp.GT(this=exp.Count(this=exp.Star(), big_int=True), expression=exp.Literal.number(0))
    select.having(some, copy=False)
    select.set("group", None)
