"""``GROUP BY key, 'constant'`` to ``GROUP BY key``: positions are resolved already, so a literal groups nothing."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.lower import refused


def drop_constant_keys(tree: exp.Query) -> exp.Query:
    """Rewrites every GROUP BY of ``tree`` in place; RefusedError where it has no other key."""
    for group in list(tree.find_all(exp.Group)):
        keys = [k for k in group.expressions if not isinstance(k, (exp.Literal, exp.Null, exp.Boolean))]
        if group.expressions and not keys:
            raise refused(group, "GROUP BY nothing but constants", remedy="drop GROUP BY, or group by a column")
        group.set("expressions", keys)
    return tree
