"""Queries: selects, set operations and CTEs, from typed DuckDB trees to ClickHouse ones."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.annotate import above_aggregates, aggregated, without_params
from realtime.transpile.form import cast, column, quote
from realtime.transpile.joins import lower_from
from realtime.transpile.lower import KEY, Lower, one_float, refused, type_of
from realtime.transpile.rules.order import lower_limit, lower_order
from realtime.transpile.rules.unnest import unnest_selected
from realtime.transpile.scopes import is_recursive, outputs, visible_ctes
from realtime.transpile.types import NESTED, DuckType, Kind

_SELECT_ARGS = frozenset(
    (
        *("with_", "expressions", "distinct", "from_", "joins", "where", "group", "having", "qualify", "windows"),
        *("order", "limit", "offset", "kind", "hint"),
    )
)


def lower_query(lower: Lower, query: exp.Query) -> exp.Query:
    """The ClickHouse form of ``query``; its columns keep names and order."""
    if isinstance(query, exp.Subquery):
        return _parenthesized(lower, query)
    if isinstance(query, exp.SetOperation):
        lowered: exp.Query = _set_operation(lower, query)
    elif isinstance(query, exp.Select):
        lowered = _select(lower, query)
    else:
        raise refused(query, f"{query.key} has no exact form as a query", remedy="write it as a SELECT")
    ctes = query.args.get("with_")
    if ctes is not None:
        recursive = any(is_recursive(c) for c in ctes.expressions)
        lowered.set("with_", exp.With(expressions=[_cte(lower, c) for c in ctes.expressions], recursive=recursive))
    return lowered


def _parenthesized(lower: Lower, query: exp.Subquery) -> exp.Query:
    if any(query.args.get(part) for part in ("order", "limit", "offset")):
        raise refused(query, "ORDER BY or LIMIT on a query in parentheses", remedy="put it into a CTE")
    return lower_query(lower, query.this)


def _cte(lower: Lower, cte: exp.CTE) -> exp.CTE:
    names = [c.name for c in cte.args["alias"].args.get("columns") or []]
    body = _recursive(lower, cte) if is_recursive(cte) else lower_query(lower, cte.this)
    if names and isinstance(body, exp.Select):
        for projection, name in zip(body.expressions, names, strict=False):
            projection.set("alias", quote(name))
    return exp.CTE(this=body, alias=exp.TableAlias(this=quote(cte.alias)))


def _recursive(lower: Lower, cte: exp.CTE) -> exp.Query:
    """A CTE that reads itself: the rows to begin with, and what each round makes of those of the one before, cast to
    their types."""
    query = cte.this
    if not isinstance(query, exp.Union) or query.args.get("distinct") or any(query.args.get(p) for p in _TAIL):
        what = "a recursive CTE that is no plain UNION ALL"
        raise refused(query, what, remedy="write UNION ALL, and an end in WHERE")
    if any(t.name == cte.alias and not t.db for t in query.this.find_all(exp.Table)):
        raise refused(query, "a recursive CTE that begins with itself", remedy="write its first rows first")
    names = [c.name for c in cte.args["alias"].args.get("columns") or []] or query.this.named_selects
    types = _types(lower, query.this)
    sides = [_side(lower, s, names, types, canonical=False) for s in (query.this, query.expression)]
    return exp.Union(this=sides[0], expression=sides[1], distinct=False)


_TAIL = ("order", "limit", "offset", "by_name", "with_", "side", "kind")


def _select(lower: Lower, select: exp.Select) -> exp.Select:
    unknown = {k for k, v in select.args.items() if v not in (None, False, [])} - _SELECT_ARGS
    if unknown or select.args.get("kind") or select.args.get("hint"):
        raise refused(select, f"clause {', '.join(sorted(unknown)) or 'AS STRUCT'} has no exact form")
    out = exp.Select()
    with lower.noting():
        lower_from(lower, select, out)
        unnest_selected(lower, select, out)
    _mark_keys(select)
    grouped = select.args.get("group") is not None or any(aggregated(p) for p in select.expressions)
    out.set("expressions", [_noted(lower, p, select, grouped) for p in select.expressions])
    for part in ("where", "having", "qualify"):
        clause = select.args.get(part)
        if clause is not None:
            with lower.noting():
                out.set(part, type(clause)(this=lower.condition(clause.this)))
    if select.args.get("group") is not None:
        with lower.noting():
            out.set("group", _group(lower, select.args["group"]))
    for clauses in (_distinct, lower_order, lower_limit):
        with lower.noting():
            clauses(lower, select, out)
    return out


def _mark_keys(select: exp.Select) -> None:
    """Notes where `KEY`s stand."""
    group = select.args.get("group")
    sets = group.args.get("grouping_sets") if group is not None else None
    members = sets[0].expressions if sets else group.expressions if group is not None else []
    found = [k.unnest() for m in members for k in (m.expressions if isinstance(m, exp.Tuple) else [m])]
    keys = [key for key in found if type_of(key).kind is Kind.FLOAT]
    clauses = [select.args[name] for name in ("having", "qualify", "order") if select.args.get(name)]
    for part in [*select.expressions, *clauses, *(select.args.get("windows") or [])] if keys else []:
        for node in above_aggregates(part):
            if node in keys:
                node.meta[KEY] = True


def _noted(lower: Lower, projection: exp.Expr, select: exp.Select, grouped: bool) -> exp.Expr:
    """`_projection`; NULL where it is refused, so that the others keep their places."""
    with lower.noting():
        return _projection(lower, projection, select, grouped)
    return exp.alias_(exp.null(), quote(projection.alias_or_name))


def _projection(lower: Lower, projection: exp.Expr, select: exp.Select, grouped: bool) -> exp.Expr:
    name = projection.alias_or_name
    if not name or isinstance(projection, exp.Star):
        raise refused(projection, "a projection without a name", remedy="give it an alias")
    value = projection.unalias()
    found = type_of(value)
    if found.kind is Kind.INTERVAL:
        raise refused(value, "ClickHouse has no column of type INTERVAL", remedy="keep the number of seconds or days")
    if found.kind is Kind.NULL:
        lowered = cast(exp.null(), "Nullable(String)")
    elif found.holds(Kind.FLOAT) and ((grouped and not aggregated(value)) or select.args.get("distinct")):
        lowered = cast(lower.canonical(value), found.clickhouse)
    else:
        lowered = lower.typed(value)
    return exp.alias_(lowered, quote(name), copy=False)


def _group(lower: Lower, group: exp.Group) -> exp.Group:
    sets = group.args.get("grouping_sets")
    if sets:
        nested = next((k for m in sets[0].expressions for k in m.flatten() if _is_nested(k)), None)
        if nested is not None:
            raise refused(
                nested,
                "a list among grouping sets is NULL in some, and ClickHouse has no such NULL",
                remedy="group by text",
            )
        members = [_members(lower, m) for m in sets[0].expressions]
        return exp.Group(grouping_sets=[exp.GroupingSets(expressions=members)])
    return exp.Group(expressions=[lower.canonical(k) for k in group.expressions])


def _is_nested(key: exp.Expr) -> bool:
    return isinstance(key, exp.Column) and type_of(key).kind in NESTED


def _members(lower: Lower, member: exp.Expr) -> exp.Expr:
    if isinstance(member, exp.Tuple):
        return exp.Tuple(expressions=[lower.canonical(m) for m in member.expressions])
    return lower.canonical(member.unnest())


def _distinct(lower: Lower, select: exp.Select, out: exp.Select) -> None:
    distinct = select.args.get("distinct")
    if distinct is None:
        return
    if distinct.args.get("on") is not None:
        raise refused(distinct, "DISTINCT ON is left", remedy="filter by QUALIFY row_number() OVER (…) = 1")
    out.set("distinct", exp.Distinct())


def _set_operation(lower: Lower, query: exp.SetOperation) -> exp.Select:
    """``SELECT * FROM (left OP right)``, both sides converted to the common types."""
    if query.args.get("by_name") or query.args.get("side") or query.args.get("kind"):
        raise refused(query, "set operation BY NAME", remedy="list the columns in the same order on both sides")
    every = not query.args.get("distinct")
    if every and not isinstance(query, exp.Union):
        raise refused(
            query, f"{query.key.upper()} ALL loses its ALL in ClickHouse", remedy="number the duplicates first"
        )
    names = query.named_selects
    types = _types(lower, query)
    sides = [_side(lower, s, names, types, canonical=not every) for s in (query.this, query.expression)]
    joined = type(query)(this=sides[0], expression=sides[1], distinct=not every)
    tail = exp.Select(expressions=[exp.Star()])
    alias = exp.TableAlias(this=quote(lower.fresh("union")))
    tail.set("from_", exp.From(this=exp.Subquery(this=joined, alias=alias)))
    _type_order(query, dict(zip(names, types, strict=True)))
    lower_order(lower, query, tail)
    lower_limit(lower, query, tail)
    return tail


def _type_order(query: exp.SetOperation, types: dict[str, DuckType]) -> None:
    """ORDER BY of a set operation names columns of its result, whose types are known only now."""
    order = query.args.get("order")
    for item in order.expressions if order is not None else []:
        if isinstance(item.this, exp.Column) and item.this.name in types:
            item.this.meta["duck"] = types[item.this.name]


def _side(lower: Lower, side: exp.Expr, names: list[str], types: list[DuckType], *, canonical: bool) -> exp.Select:
    """One side, every column cast to the common type and called by its common name; ``canonical``: equal floats are
    the same bytes, by which ClickHouse compares rows."""
    assert isinstance(side, exp.Query)
    given = _types(lower, side)
    query = lower_query(lower, side)
    inner = _named_apart(lower, query, list(side.named_selects))
    floats = canonical and any(t.kind is Kind.FLOAT for t in types)
    nested = next((t for t in types if t.kind is not Kind.FLOAT and t.holds(Kind.FLOAT)), None)
    if canonical and nested is not None:
        raise refused(side, f"equal values of {nested} are not the same bytes", remedy="take its fields or elements")
    if given == types and inner == names and isinstance(query, exp.Select) and not floats:
        return query
    alias = lower.fresh("side")
    projections = []
    for old, name, have, want in zip(inner, names, given, types, strict=True):
        value = column(old, alias)
        value.meta["duck"] = have
        shown = value if have == want else cast(lower.convert(value, value, want, False), want.clickhouse)
        if canonical and want.kind is Kind.FLOAT:
            shown = cast(one_float(shown), want.clickhouse)
        projections.append(exp.alias_(shown, quote(name)))
    out = exp.Select(expressions=projections)
    out.set("from_", exp.From(this=exp.Subquery(this=query, alias=exp.TableAlias(this=quote(alias)))))
    return out


def _named_apart(lower: Lower, query: exp.Query, names: list[str]) -> list[str]:
    """``names`` of the columns of ``query``, those that come twice renamed in it: a text without a name is called what
    it says, and ClickHouse takes a name for one thing."""
    found: list[str] = []
    for place, name in enumerate(names):
        projection = query.expressions[place] if isinstance(query, exp.Select) and not query.is_star else None
        if name in found and isinstance(projection, exp.Alias):
            projection.set("alias", quote(name := lower.fresh("column")))
        found.append(name)
    return found


def _types(lower: Lower, query: exp.Query) -> list[DuckType]:
    """Types of the columns of ``query``, from its annotations as far as it has them."""
    return [t for _, t in outputs(query) or lower.binder.describe(_bindable(query))]


def _bindable(query: exp.Query) -> str:
    """SQL that DuckDB can describe: with the CTEs in sight and parameters as NULL."""
    around = visible_ctes(query)
    copy = without_params(query)
    if around and copy.args.get("with_") is None:
        recursive = any(is_recursive(c) for c in around)
        copy.set("with_", exp.With(expressions=[c.copy() for c in around], recursive=recursive))
    return copy.sql("duckdb")
