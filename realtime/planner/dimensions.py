"""Which columns tell the rows of a relation apart, so that a join to it finds one row at most.

The answer is exact whether they do or not: a state is merged once for each row that it meets. But a state per join
key is worth keeping only where many rows of the stream share few keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

from realtime.planner.ctes import resolve
from realtime.planner.relations import Relations
from realtime.planner.streams import stateless
from realtime.project.manifest import Project

Keys = tuple[frozenset[str], ...]


def tested_keys(project: Project) -> dict[str, Keys]:
    """Columns that dbt tests as unique, by the unique id and by the name of the model or source tested."""
    names = {u: m.name for u, m in project.models.items()}
    found: dict[str, list[frozenset[str]]] = {}
    for test in project.tests:
        name = test.metadata["name"] if test.metadata is not None else ""
        if test.config.get("where") or str(test.config.get("severity", "error")).lower() != "error":
            continue
        columns: list[str] = []
        if name == "unique" and test.column:
            columns = [test.column]
        elif name == "unique_combination_of_columns" and test.metadata is not None:
            columns = test.metadata["kwargs"].get("combination_of_columns") or []
        for owner in {test.attached, names.get(test.attached, "")} - {""} if columns else ():
            found.setdefault(owner, []).append(frozenset(columns))
    return {owner: tuple(keys) for owner, keys in found.items()}


def identities(project: Project, unique: Mapping[str, Keys]) -> dict[str, Keys]:
    """Those of ``unique``, the keys that are tested, that are never NULL either, by the unique id of the model or
    source: no two rows have them in common."""
    never_null: dict[str, set[str]] = {u: set(s.not_null) for u, s in project.sources.items()}
    for test in project.tests:
        if test.forbids_null:
            never_null.setdefault(test.attached, set()).add(test.column)
    found = {owner: tuple(k for k in unique.get(owner, ()) if k <= known) for owner, known in never_null.items()}
    return {owner: keys for owner, keys in found.items() if keys}


def unjoined(select: exp.Select, relations: Relations) -> str | None:
    """What keeps ``select`` from being kept on insert: a joined relation with no key in its ON; None where each has."""
    for join in select.args.get("joins") or []:
        matched = _matched(join)
        keys = tuple(_keys(join.this, relations))
        if not any(key <= matched for key in keys):
            columns, name = ", ".join(sorted(matched)) or "its key", name_of(join.this)
            return f"a join to {name} by {columns}, not known to be unique (test it with dbt's `unique`)"
    return None


def name_of(source: exp.Expr) -> str:
    """How people call a table, CTE or subquery."""
    cte = resolve(source) if isinstance(source, exp.Table) else None
    return cte.alias if cte is not None else source.name or source.alias_or_name


def _matched(join: exp.Join) -> frozenset[str]:
    """Columns of the joined relation that ON equates with something else."""
    on, alias = join.args["on"], join.this.alias_or_name
    found = set()
    for part in on.flatten() if isinstance(on, exp.And) else [on]:
        part = part.unnest()
        if isinstance(part, exp.EQ):
            for side, other in ((part.left, part.right), (part.right, part.left)):
                columns = list(side.find_all(exp.Column))
                apart = all(c.table != alias for c in other.find_all(exp.Column))
                if len(columns) == 1 and columns[0].table == alias and apart:
                    found.add(columns[0].name)
    return frozenset(found)


def _keys(source: exp.Expr, relations: Relations) -> Iterator[frozenset[str]]:
    """Keys of a table, CTE or subquery, by the names of its own columns."""
    if isinstance(source, exp.Table):
        cte = resolve(source)
        if cte is None:
            yield from _known(source, relations)
            return
        # A model that handles each row by itself is inlined under its name.
        yield from relations.unique.get(cte.alias, ())
        yield from _keys(cte.this, relations)
    elif isinstance(source, exp.Subquery):
        yield from _keys(source.this, relations)
    elif isinstance(source, exp.Select) and source.args.get("from_") is not None and stateless(source):
        shown = {p.unalias().name: p.alias_or_name for p in source.expressions if isinstance(p.unalias(), exp.Column)}
        star = any(isinstance(p, exp.Star) for p in source.expressions)
        for key in _keys(source.args["from_"].this, relations):
            if star or key <= set(shown):
                yield frozenset(c if star else shown[c] for c in key)


def _known(relation: exp.Table, relations: Relations) -> Iterator[frozenset[str]]:
    source, model = relations.source(relation), relations.model(relation)
    if source is not None:
        yield from relations.unique.get(source.unique_id, ())
        if source.mode == "upsert":
            yield frozenset(source.key)
    if model is not None:
        yield from relations.unique.get(model.unique_id, ())
