"""A lambda that may be approximate finds the nearest vectors by the index of its source.

ClickHouse takes a vector index only where a select orders its own table by the distance, not through a view and not
with FINAL (tried on 26.7). So the index gives candidates, more than are asked for: of an append source their rows, of
an upserted one those of them that are the newest of their key. The lambda's own query then runs over them in place of
all rows, its conditions, exact distances and order among them. What was replaced or deleted is in no answer, nor does
it stand for a newer row that is far away. Where fewer rows are left than the lambda asks for, servers ask it over all
rows. So the index may only miss some of the nearest.
"""

from __future__ import annotations

import dataclasses

from sqlglot import exp

from realtime.emit.landing import INGESTED_AT
from realtime.errors import RefusedError
from realtime.planner.ctes import resolve
from realtime.planner.indexes import DISTANCES, hint, vector_index
from realtime.planner.ir import Index, SourceSpec
from realtime.planner.relations import Relations, newest_rows
from realtime.planner.selects import query_of, relations_of
from realtime.planner.streams import stateless
from realtime.project.binder import Binder, table
from realtime.transpile.annotate import is_aggregate
from realtime.transpile.form import call, column, form, quote
from realtime.transpile.lower import refused
from realtime.transpile.transpile import transpile

HOLDER = "__duet_nearest"
"""Begins the name that stands for the candidates in a query until they are written out."""
SETTINGS = {
    # How many vectors a search keeps in sight: of 100,000 random ones of 128 numbers, the hardest there are, it finds
    # 99 of the 100 nearest so, 86 with the default of 256. Real ones are easier.
    "hnsw_candidate_list_size_for_search": 1024,
    "max_limit_for_vector_search_queries": 100_000,
}
_TIMES, _MORE = 4, 100
"""Candidates for each row that is asked for, and beside."""
_PLAIN = frozenset({"expressions", "from_", "joins", "where", "order", "limit", "offset", "with_", "hint", "kind"})
_REMEDY = (
    "write one SELECT without GROUP BY, DISTINCT or windows that ends in ORDER BY array_cosine_distance(v::DOUBLE[n], "
    "$q), … LIMIT k, over a source or a model that only filters and maps one; or drop `approximate`"
)


@dataclasses.dataclass(frozen=True)
class Search:
    """``tree``, in DuckDB's dialect with names resolved, reads `HOLDER` in place of ``source``. ``index`` finds the
    rows of which ``column`` is nearest to ``vector``, a constant."""

    tree: exp.Query
    source: SourceSpec
    index: Index
    column: str
    vector: exp.Expr

    @property
    def why(self) -> str:
        """What is used, in words."""
        return f"the vector index {self.index.name} of {self.source.name}"

    @property
    def asked(self) -> tuple[int, str]:
        """How many rows are asked for: a number, or the parameter that says it."""
        count = self.tree.args["limit"].expression
        while isinstance(count, exp.Cast):
            count = count.this
        return (int(count.name), "") if isinstance(count, exp.Literal) else (0, count.name)


def find_search(tree: exp.Query, name: str, relations: Relations) -> Search:
    """What of ``tree``, the query of lambda ``name`` with streams inlined and names resolved, an index finds; takes it
    apart. RefusedError where it is no search for the nearest, or there is no such index."""
    if not isinstance(tree, exp.Select) or {k for k, v in tree.args.items() if v not in (None, False, [])} - _PLAIN:
        raise _no_search(tree, "an approximate query is more than one plain SELECT")
    if tree.args.get("limit") is None or tree.args.get("order") is None:
        raise _no_search(tree, "an approximate query has no ORDER BY with a LIMIT")
    if any(isinstance(n, exp.Window) or is_aggregate(n) for p in tree.expressions for n in p.walk()):
        raise _no_search(tree, "an approximate query aggregates, or has windows")
    first = tree.args["order"].expressions[0]
    distance, select = _below(first.this, tree)
    if first.args.get("desc") or not isinstance(distance, exp.Anonymous) or distance.name.lower() not in DISTANCES:
        raise _no_search(first, "an approximate query is ordered by no distance first, or by the farthest")
    reference, named, vector = _sides(distance, select, relations)
    source = relations.source(reference)
    assert source is not None
    function = DISTANCES[distance.name.lower()]
    index = vector_index(source, named, function)
    if index is None:
        raise refused(
            distance,
            f"source {source.name} has no vector index on {named} for {distance.name.lower()}",
            remedy=f"add to the source's `indexes`: {hint(named, function)}",
        )
    if relations.cluster:
        raise refused(distance, "an approximate query on a cluster", remedy="drop `approximate`")
    holder = table(f"{HOLDER}_{name}")
    for part in ("this", "db", "catalog"):
        reference.set(part, holder.args.get(part))
    return Search(tree, source, index, named, vector)


def _sides(call: exp.Anonymous, select: exp.Select, relations: Relations) -> tuple[exp.Table, str, exp.Expr]:
    """The source whose column ``call`` compares, that column, and the constant that it is compared with."""
    for side, other in (call.expressions, reversed(call.expressions)):
        found, below = _below(_narrow(side), select)
        vector = _narrow(other)
        if isinstance(found, exp.Column) and vector.find(exp.Column, exp.Query) is None:
            reference = _relation(found, below)
            if isinstance(reference, exp.Table) and relations.source(reference) is not None:
                return reference, found.name, vector
    raise _no_search(call, "a distance that is not between a source's column and a parameter")


def _below(node: exp.Expr, select: exp.Select) -> tuple[exp.Expr, exp.Select]:
    """What ``node`` of ``select`` is, as far down as it is a column of a query that handles each row by itself, and the
    select that it stands in."""
    node = node.unnest()
    if not isinstance(node, exp.Column):
        return node, select
    if not node.table:
        named = next((p.unalias() for p in select.expressions if p.alias_or_name == node.name), None)
        return _below(named, select) if named is not None else (node, select)
    relation = _relation(node, select)
    query = query_of(relation) if relation is not None else None
    if not isinstance(query, exp.Select) or not stateless(query) or _shared(relation):
        return node, select
    inner = next((p.unalias() for p in query.expressions if p.alias_or_name == node.name), None)
    return _below(inner, query) if inner is not None else (node, select)


def _relation(node: exp.Column, select: exp.Select) -> exp.Expr | None:
    return next((r for r in relations_of(select) if r.alias_or_name == node.table), None)


def _shared(relation: exp.Expr | None) -> bool:
    """Whether the CTE that ``relation`` names is read elsewhere too: all rows of it would be candidates there."""
    cte = resolve(relation) if isinstance(relation, exp.Table) else None
    if cte is None or relation is None:
        return False
    root = relation.root()
    return sum(resolve(t) is cte for t in root.find_all(exp.Table)) > 1


def _narrow(node: exp.Expr) -> exp.Expr:
    """``node`` without casts, down to that of a parameter."""
    inner = node.unnest()
    is_value = isinstance(inner, exp.Cast) and not isinstance(inner.this, (exp.Parameter, exp.Placeholder))
    return _narrow(inner.this) if is_value else inner


def _no_search(node: exp.Expr, what: str) -> RefusedError:
    return refused(node, what, remedy=_REMEDY)


def over_candidates(search: Search, name: str, binder: Binder) -> exp.Select:
    """The ClickHouse query of ``search`` over the rows that the index gives; other sources have DuckDB's names."""
    holder = table(f"{HOLDER}_{name}")
    binder.add_table(holder, [(c.name, c.type) for c in search.source.columns])
    compiled = transpile(search.tree, binder).tree
    vector = transpile(exp.select(exp.alias_(search.vector.copy(), "v")), binder).tree
    assert isinstance(compiled, exp.Select)
    assert isinstance(vector, exp.Select)
    most, offset = compiled.args["limit"].expression, compiled.args.get("offset")
    most = most if offset is None else form("a + b", a=most, b=offset.expression)
    near = _near(search, vector.expressions[0].unalias(), form("k * times + more", k=most, times=_TIMES, more=_MORE))
    for reference in [t for t in compiled.find_all(exp.Table) if t.name == holder.name]:
        alias = exp.TableAlias(this=quote(reference.alias_or_name))
        reference.replace(exp.Subquery(this=near.copy(), alias=alias))
    return compiled


def _near(search: Search, vector: exp.Expr, most: exp.Expr) -> exp.Select:
    """The rows of ``search`` that the index gives for ``vector``: of an upserted source those that are still the newest
    of their key."""
    source, landing = search.source, _landing(search.source)
    version = (*source.key, source.version, INGESTED_AT)
    shown = [column(name) for name in (version if source.key else [c.name for c in source.columns])]
    function = next(f for f in DISTANCES.values() if f"'{f}'" in search.index.type)
    distance = call(function, column(search.column), vector)
    near = exp.select(*shown).from_(landing).order_by(exp.Ordered(this=distance, desc=False)).limit(most)
    if source.mode == "append":
        return near
    row = exp.Tuple(expressions=[part.copy() for part in shown])
    return newest_rows(source, landing.copy()).where(exp.In(this=row, query=exp.Subquery(this=near)))


def _landing(source: SourceSpec) -> exp.Table:
    database, name = source.landing.split(".")
    return exp.table_(name, db=database, quoted=True)
