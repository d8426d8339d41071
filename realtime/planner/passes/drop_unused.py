"""Drops the columns of a stream that nothing above them reads.

A view then depends on what its model uses, not on everything that its staging model makes: a new column in
staging changes no state, and one that may fail on some row harms no model that does not read it.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.planner.streams import chain


def drop_unused(view: exp.Select) -> exp.Select:
    """Drops them in place, from ``view`` down to its landing table; ``view`` reads a stream without UNION ALL."""
    above, used = view, _read_by(view)
    for select in chain(view.args["from_"].this):
        # A star hands on what is read above it.
        used = (used if _is_star(above) else set()) | _read_by(above)
        kept = [p for p in select.expressions if p.alias_or_name in used or _is_needed(p)]
        select.set("expressions", kept or select.expressions[:1])
        above = select
    return view


def _is_star(select: exp.Select) -> bool:
    return any(isinstance(p, exp.Star) for p in select.expressions)


def _is_needed(projection: exp.Expr) -> bool:
    """Whether it is more than a value: a star, or an unnested list, which decides how many rows there are."""
    unnests = (n for n in projection.walk() if isinstance(n, exp.Explode) or n.name.lower() == "arrayjoin")
    return isinstance(projection, exp.Star) or any(True for _ in unnests)


def _read_by(select: exp.Select) -> set[str]:
    """Names of the columns that ``select`` itself reads; what it selects from is not its own."""
    clauses = [c for name, c in select.args.items() if name not in ("with_", "from_")]
    flat = [n for c in clauses for n in (c if isinstance(c, list) else [c]) if isinstance(n, exp.Expr)]
    return {c.name for node in flat for c in node.find_all(exp.Column)}
