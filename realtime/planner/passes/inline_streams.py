"""Models that handle each row by itself are written into the models that read them, as CTEs.

So that every state hangs directly on landing tables: an insert fires all of its views at once.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

Lookup = Callable[[exp.Table], tuple[str, exp.Query] | None]


def inline_streams(tree: exp.Query, lookup: Lookup) -> exp.Query:
    """Makes each relation of ``tree`` that ``lookup`` knows a CTE named after its model, in place."""
    taken = {cte.alias for cte in tree.find_all(exp.CTE)}
    names: dict[str, str] = {}
    ctes: list[exp.CTE] = []
    for reference in list(tree.find_all(exp.Table)):
        found = lookup(reference)
        if found is None:
            continue
        model, query = found
        if model not in names:
            names[model] = _free(model, taken)
            ctes.append(_cte(names[model], query))
        _refer(reference, names[model])
    if ctes:
        own = tree.args.get("with_")
        tree.set(
            "with_",
            exp.With(expressions=ctes + (own.expressions if own else []), recursive=own and own.args.get("recursive")),
        )
    return tree


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _cte(name: str, query: exp.Query) -> exp.CTE:
    query = query.copy()
    for node in query.walk():
        # Lines of another file would mislead.
        if node.meta_get("line") is not None:
            node.meta.pop("line")
    return exp.CTE(this=query, alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)))


def _refer(reference: exp.Table, name: str) -> None:
    """Makes ``reference`` name the CTE; it keeps the alias by which its columns are called."""
    if reference.args.get("alias") is None:
        reference.set("alias", exp.TableAlias(this=exp.to_identifier(reference.name, quoted=True)))
    reference.set("this", exp.to_identifier(name, quoted=True))
    reference.set("db", None)
    reference.set("catalog", None)
