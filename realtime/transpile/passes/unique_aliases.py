"""Every table alias of a statement is made unique: ClickHouse binds a shadowed name to the wrong table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from sqlglot import exp


def unique_aliases(tree: exp.Query) -> exp.Query:
    """Renames aliases that occur twice (``a``, ``a_2`` …), and the columns that name them, in place.

    ``tree`` is qualified: every column of a table carries the table's alias. Names of CTEs count as
    taken, for ClickHouse would look an alias up among them first.
    """
    taken = {cte.alias for cte in tree.find_all(exp.CTE)}
    _visit(tree, {}, taken)
    return tree


def _visit(node: exp.Expr, names: Mapping[str, str], taken: set[str]) -> None:
    """``names`` maps the aliases in scope around ``node`` to what they are called now."""
    if isinstance(node, exp.Select):
        names = {**names, **_rename_sources(node, taken)}
    if isinstance(node, exp.Column) and node.table in names:
        node.set("table", exp.to_identifier(names[node.table], quoted=True))
    for child in list(node.iter_expressions()):
        _visit(child, names, taken)


def _rename_sources(select: exp.Select, taken: set[str]) -> dict[str, str]:
    origin = select.args.get("from_")
    sources = [origin.this] if origin is not None else []
    sources += [join.this for join in select.args.get("joins") or []]
    names = {}
    for source in sources:
        old = source.alias_or_name
        if not old:
            continue
        new = _free(old, taken)
        taken.add(new)
        names[old] = new
        if source.args.get("alias") is None:
            source.set("alias", exp.TableAlias(this=exp.to_identifier(new, quoted=True)))
        else:
            source.args["alias"].set("this", exp.to_identifier(new, quoted=True))
    return names


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    # A copy of what got a number already gets the next one.
    stem, _, number = name.rpartition("_")
    base = stem if number.isdigit() and stem in taken else name
    return next(found for n in itertools.count(2) if (found := f"{base}_{n}") not in taken)
