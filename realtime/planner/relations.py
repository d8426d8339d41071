"""Which source or model a table of a compiled query is, and how dbt names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from sqlglot import exp

from realtime.planner.ctes import resolve
from realtime.planner.ir import SourceSpec
from realtime.project.manifest import Model
from realtime.transpile.form import column, form, quote

Key = tuple[str, str, str]


def key_of(relation: exp.Table) -> Key:
    """Catalog, schema and name in lower case: DuckDB compares them so."""
    return (relation.catalog.lower(), relation.db.lower(), relation.name.lower())


@dataclasses.dataclass(frozen=True)
class Relations:
    """Sources and models by their relation in the batch engine; ``unique`` are the keys of what has some, by unique
    id or name (see `realtime.planner.dimensions`)."""

    sources: Mapping[Key, SourceSpec]
    models: Mapping[Key, Model]
    unique: Mapping[str, tuple[frozenset[str], ...]] = dataclasses.field(default_factory=dict)

    def source(self, relation: exp.Table) -> SourceSpec | None:
        """The source that ``relation`` is; None for models and CTEs."""
        return self.sources.get(key_of(relation))

    def model(self, relation: exp.Table) -> Model | None:
        """The model that ``relation`` is; None for sources and CTEs."""
        return self.models.get(key_of(relation))

    def appended(self, relation: exp.Table) -> bool:
        """Whether ``relation`` is a source whose rows are only ever added."""
        found = self.source(relation)
        return found is not None and found.mode == "append"


def reads_only(tree: exp.Query, relations: Iterable[exp.Table]) -> bool:
    """Whether ``tree`` reads none but ``relations``, its own CTEs aside."""
    known = {key_of(relation) for relation in relations}
    return all(resolve(table) is not None or key_of(table) in known for table in tree.find_all(exp.Table))


def to_landing(tree: exp.Query, relations: Relations) -> exp.Query:
    """``tree`` with every source replaced by its landing table, in place; for SQL that Duet runs itself."""
    for reference in list(tree.find_all(exp.Table)):
        found = relations.source(reference)
        if found is not None:
            database, name = found.landing.split(".")
            _read_source(reference, exp.table_(name, db=database, quoted=True), found)
    return tree


def to_dbt(tree: exp.Query, relations: Relations) -> exp.Query:
    """``tree`` with every relation replaced by dbt's ``ref()`` or ``source()``, in place."""
    for reference in list(tree.find_all(exp.Table)):
        source, model = relations.source(reference), relations.model(reference)
        if source is not None:
            _read_source(reference, _jinja_table(f"source('landing', '{source.landing.split('.')[1]}')"), source)
        elif model is not None:
            _rename(reference, _jinja_table(f"ref('{model.name}')"))
    return tree


def to_read_views(tree: exp.Query, relations: Relations, database: str) -> exp.Query:
    """``tree`` over landing tables and read views, in place; for queries that are sent as they are."""
    for reference in list(tree.find_all(exp.Table)):
        model = relations.model(reference)
        if model is not None:
            _rename(reference, exp.table_(model.name, db=database, quoted=True))
    return to_landing(tree, relations)


def state_table(name: str) -> exp.Table:
    """The state table ``name`` as dbt names it."""
    return _jinja_table(f"source('state', '{name}')")


def is_state(reference: exp.Table) -> bool:
    """Whether ``reference`` is a `state_table`."""
    return reference.name.startswith("{{ source('state', ")


def _read_source(reference: exp.Table, landing: exp.Table, spec: SourceSpec) -> None:
    """Makes ``reference`` read ``landing``; of an upserted source the newest row per key that is not deleted."""
    if spec.mode == "append":
        _rename(reference, landing)
        return
    alias = exp.TableAlias(this=quote(reference.alias_or_name))
    newest = exp.select(*(column(c.name) for c in spec.columns)).from_(exp.Final(this=landing))
    if spec.deleted:
        newest = newest.where(form("NOT ifNull(deleted, false)", deleted=column(spec.deleted)))
    reference.replace(exp.Subquery(this=newest, alias=alias))


def _jinja_table(expression: str) -> exp.Table:
    return exp.Table(this=exp.to_identifier("{{ " + expression + " }}", quoted=False))


def _rename(reference: exp.Table, to: exp.Table) -> None:
    for part in ("this", "db", "catalog"):
        reference.set(part, to.args.get(part))
