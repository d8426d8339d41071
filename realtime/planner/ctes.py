"""Which CTE a name means, and queries that stand alone with the CTEs they need."""

from __future__ import annotations

from sqlglot import exp


def resolve(reference: exp.Table) -> exp.CTE | None:
    """The CTE that ``reference`` names from where it stands; None where it is a relation."""
    if reference.db:
        return None
    at: exp.Expr | None = reference
    inside: exp.CTE | None = None
    while at is not None:
        if isinstance(at, exp.CTE):
            inside = at
        for cte in reversed(_earlier(at, inside)):
            if cte.alias == reference.name:
                return cte
        at = at.parent
    return None


def _earlier(node: exp.Expr, inside: exp.CTE | None) -> list[exp.CTE]:
    """CTEs of ``node`` that can be seen from within ``inside`` (one of them, or none)."""
    clause = node.args.get("with_") if isinstance(node, exp.Query) else None
    if clause is None:
        return []
    found: list[exp.CTE] = clause.expressions
    if inside is not None and inside.parent is clause:
        found = found[: next(i for i, cte in enumerate(found) if cte is inside)]
    return found


def standalone(query: exp.Query) -> exp.Query:
    """A copy of ``query`` that carries every CTE it uses, in an order that defines before use."""
    needed: dict[str, exp.CTE] = {}

    def collect(tree: exp.Expr) -> None:
        for reference in tree.find_all(exp.Table):
            cte = resolve(reference)
            if cte is None or (cte.find_ancestor(exp.Query) is not None and _inside(cte, tree)):
                continue
            if cte.alias not in needed:
                collect(cte.this)
                needed[cte.alias] = cte

    collect(query)
    copy = query.copy()
    if needed:
        own = copy.args.get("with_")
        ctes = [cte.copy() for cte in needed.values()] + (own.expressions if own else [])
        recursive = any(c.parent is not None and c.parent.args.get("recursive") for c in needed.values())
        copy.set("with_", exp.With(expressions=ctes, recursive=recursive or bool(own and own.args.get("recursive"))))
    return copy


def _inside(node: exp.Expr, tree: exp.Expr) -> bool:
    at: exp.Expr | None = node
    while at is not None:
        if at is tree:
            return True
        at = at.parent
    return False


def prune(tree: exp.Query) -> exp.Query:
    """Drops CTEs that nothing uses, in place, until none is left over."""
    while True:
        used = {id(resolve(reference)) for reference in tree.find_all(exp.Table)}
        unused = [cte for cte in tree.find_all(exp.CTE) if id(cte) not in used]
        if not unused:
            return tree
        for cte in unused:
            clause = cte.parent
            cte.pop()
            if clause is not None and not clause.expressions:
                clause.pop()
