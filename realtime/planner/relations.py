"""Which source or model a table of a compiled query is, and how dbt names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import msgspec
from sqlglot import exp

from realtime.errors import RefusedError
from realtime.planner.ctes import resolve
from realtime.planner.ir import ALL, SourceSpec
from realtime.planner.push_conditions import from_shards, is_from_shards, push_conditions
from realtime.project.manifest import Model
from realtime.transpile.correlated import outer_columns
from realtime.transpile.form import column, form, quote

Key = tuple[str, str, str]
_STATE = "{{ source('state', '"


def key_of(relation: exp.Table) -> Key:
    """Catalog, schema and name in lower case: DuckDB compares them so."""
    return (relation.catalog.lower(), relation.db.lower(), relation.name.lower())


@dataclasses.dataclass(frozen=True)
class Relations:
    """Sources and models by their relation in the batch engine; ``unique`` are the keys of what has some, by unique
    id or name (see `realtime.planner.dimensions`), ``identities`` those that are never NULL, by unique id; ``cluster``
    is empty where ClickHouse stands alone."""

    sources: Mapping[Key, SourceSpec]
    models: Mapping[Key, Model]
    unique: Mapping[str, tuple[frozenset[str], ...]] = dataclasses.field(default_factory=dict)
    cluster: str = ""
    identities: Mapping[str, tuple[frozenset[str], ...]] = dataclasses.field(default_factory=dict)

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
    """``tree`` with every source replaced by its landing table, in place; for views that take a server's own rows."""
    return _to_tables(tree, relations, whole=False)


def _to_tables(tree: exp.Query, relations: Relations, *, whole: bool) -> exp.Query:
    for reference in list(tree.find_all(exp.Table)):
        found = relations.source(reference)
        if found is not None:
            database, name = (found.whole if whole else found.landing).split(".")
            _read_source(reference, exp.table_(name, db=database, quoted=True), found, whole=whole)
    return tree


def to_dbt(tree: exp.Query, relations: Relations) -> exp.Query:
    """``tree`` with every relation replaced by dbt's ``ref()`` or ``source()``, in place; RefusedError where a cluster
    can't answer it."""
    _check_correlated(tree, relations)
    for reference in list(tree.find_all(exp.Table)):
        source, model = relations.source(reference), relations.model(reference)
        if source is not None:
            _read_source(reference, _jinja_table(f"source('landing', '{source.whole.split('.')[1]}')"), source)
        elif relations.cluster and is_state(reference):
            _read_shards(reference, state_table(_state_name(reference) + ALL))
        elif model is not None:
            _rename(reference, _jinja_table(f"ref('{model.name}')"))
    return push_conditions(tree) if relations.cluster else tree


def to_read_views(tree: exp.Query, relations: Relations, database: str) -> exp.Query:
    """``tree`` over landing tables and read views, in place; for queries that are sent as they are. RefusedError
    where a cluster can't answer it."""
    _check_correlated(tree, relations)
    for reference in list(tree.find_all(exp.Table)):
        model = relations.model(reference)
        if model is not None:
            _rename(reference, exp.table_(model.name, db=database, quoted=True))
    tree = _to_tables(tree, relations, whole=True)
    return push_conditions(tree) if relations.cluster else tree


def state_table(name: str) -> exp.Table:
    """The state table ``name`` as dbt names it."""
    return _jinja_table(f"source('state', '{name}')")


def is_state(reference: exp.Table) -> bool:
    """Whether ``reference`` is a `state_table`."""
    return reference.name.startswith(_STATE)


def _state_name(reference: exp.Table) -> str:
    return reference.name.removeprefix(_STATE).removesuffix("') }}")


def _read_source(reference: exp.Table, landing: exp.Table, spec: SourceSpec, *, whole: bool = True) -> None:
    """Makes ``reference`` read ``landing``; of an upserted source the newest row per key that is not deleted."""
    if spec.mode == "append" and whole and spec.shards is not msgspec.UNSET:
        _read_shards(reference, landing)
        return
    if spec.mode == "append":
        _rename(reference, landing)
        return
    alias = exp.TableAlias(this=quote(reference.alias_or_name))
    reference.replace(exp.Subquery(this=newest_rows(spec, landing), alias=alias))


def newest_rows(spec: SourceSpec, landing: exp.Table) -> exp.Select:
    """The rows of ``landing`` that readers of the source see: of an upserted one the newest per key, without those that
    are deleted."""
    upsert = spec.mode == "upsert"
    newest = exp.select(*(column(c.name) for c in spec.columns)).from_(exp.Final(this=landing) if upsert else landing)
    if spec.deleted:
        newest = newest.where(form("NOT ifNull(deleted, false)", deleted=column(spec.deleted)))
    return newest if spec.shards is msgspec.UNSET else from_shards(newest)


def _check_correlated(tree: exp.Query, relations: Relations) -> None:
    """ClickHouse 26.7 says "correlated subqueries are not supported with remote tables" only when such a query runs.
    Where it reads views over them, it has them."""
    for exists in tree.find_all(exp.Exists) if relations.cluster else ():
        columns = outer_columns(exists.this)
        if columns and _reads_tables(exists.this, relations):
            raise RefusedError(
                "EXISTS over a query that names columns of the rows around it: ClickHouse has none on a cluster",
                construct=columns[0].sql("duckdb"),
                remedy="compare with all values at once, as in `key in (select key from …)`",
            )


def _reads_tables(query: exp.Expr, relations: Relations) -> bool:
    """Whether ``query`` reads a source or a state, itself or through CTEs."""
    for table in query.find_all(exp.Table):
        cte = resolve(table)
        if _reads_tables(cte.this, relations) if cte is not None else relations.source(table) or is_state(table):
            return True
    return False


def _read_shards(reference: exp.Table, table: exp.Table) -> None:
    """Makes ``reference`` read ``table``, which is over all shards."""
    reference.replace(_rows_of_all(table, reference.alias_or_name))


def _rows_of_all(table: exp.Table, alias: str) -> exp.Subquery:
    """``table``, which is over all shards, in a select of its own: so shards send rows, and what is done with them, a
    join or a window, is done over the rows of all. Which rows and columns they need not send, they are told
    (`realtime.planner.push_conditions`)."""
    rows = from_shards(exp.select(exp.Star()).from_(table))
    return exp.Subquery(this=rows, alias=exp.TableAlias(this=quote(alias)))


def stored_rows(relation: str, alias: str, *, sharded: bool) -> exp.Table | exp.Subquery:
    """The landing table or state ``relation`` as a query reads it; where it is ``sharded`` the rows of all shards."""
    database, name = relation.split(".")
    if sharded:
        return _rows_of_all(exp.table_(name + ALL, db=database, quoted=True), alias)
    return exp.table_(name, db=database, quoted=True, alias=quote(alias))


def stored_in(relation: exp.Expr) -> exp.Table | None:
    """The table that ``relation`` reads as it is, itself or as `stored_rows` of all shards; None where it is more, or a
    CTE."""
    query = relation.this if isinstance(relation, exp.Subquery) else None
    if isinstance(query, exp.Select) and is_from_shards(query) and query.is_star:
        relation = query.args["from_"].this  # its conditions are also those of the query around it
    return relation if isinstance(relation, exp.Table) and resolve(relation) is None else None


def _jinja_table(expression: str) -> exp.Table:
    return exp.Table(this=exp.to_identifier("{{ " + expression + " }}", quoted=False))


def _rename(reference: exp.Table, to: exp.Table) -> None:
    for part in ("this", "db", "catalog"):
        reference.set(part, to.args.get(part))
