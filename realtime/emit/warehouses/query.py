"""Queries: selects, set operations and CTEs, from typed DuckDB trees to a warehouse's."""

from __future__ import annotations

from sqlglot import exp

from realtime.emit.warehouses.warehouse import Writer, placed
from realtime.transpile.annotate import without_params
from realtime.transpile.form import column, quote
from realtime.transpile.joins import lower_from
from realtime.transpile.lower import Lower, refused, type_of
from realtime.transpile.rules.order import lower_limit
from realtime.transpile.scopes import is_recursive, visible_ctes
from realtime.transpile.types import DuckType, Kind

_SELECT_ARGS = frozenset(
    [
        "with_",
        "expressions",
        "distinct",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "qualify",
        "windows",
        "order",
        "limit",
        "offset",
    ]
)


def write_query(lower: Lower, query: exp.Query) -> exp.Query:
    """``query`` in the warehouse's SQL; its columns keep names, types and order."""
    assert isinstance(lower, Writer)
    if isinstance(query, exp.Subquery):
        return _parenthesized(lower, query)
    if isinstance(query, exp.SetOperation):
        written: exp.Query = _set_operation(lower, query)
    elif isinstance(query, exp.Select):
        written = _select(lower, query)
    else:
        raise refused(query, f"{query.key} has no exact form as a query", remedy="write it as a SELECT")
    ctes = query.args.get("with_")
    if ctes is not None:
        if any(map(is_recursive, ctes.expressions)):
            raise refused(query, "a recursive CTE", remedy="compute it in another model that stays in DuckDB")
        written.set("with_", exp.With(expressions=[_cte(lower, c) for c in ctes.expressions]))
    return written


def _parenthesized(writer: Writer, query: exp.Subquery) -> exp.Query:
    if any(query.args.get(part) for part in ("order", "limit", "offset")):
        raise refused(query, "ORDER BY or LIMIT on a query in parentheses", remedy="put it into a CTE")
    return write_query(writer, query.this)


def _cte(writer: Writer, cte: exp.CTE) -> exp.CTE:
    if cte.args["alias"].args.get("columns"):
        raise refused(cte, "column names beside the name of a CTE", remedy="name the columns inside")
    return exp.CTE(this=write_query(writer, cte.this), alias=exp.TableAlias(this=quote(cte.alias)))


def _select(writer: Writer, select: exp.Select) -> exp.Select:
    unknown = {k for k, v in select.args.items() if v not in (None, False, [])} - _SELECT_ARGS
    if unknown:
        raise refused(select, f"clause {', '.join(sorted(unknown))} has no exact form", remedy="write it out")
    out = exp.Select()
    with writer.noting():
        _from(writer, select, out)
    out.set("expressions", [_noted(writer, p) for p in select.expressions])
    for part in ("where", "having"):
        clause = select.args.get(part)
        if clause is not None:
            with writer.noting():
                out.set(part, type(clause)(this=writer.condition(clause.this)))
    if select.args.get("group") is not None:
        with writer.noting():
            out.set("group", _group(writer, select.args["group"]))
    if select.args.get("distinct") is not None:
        out.set("distinct", exp.Distinct())
    with writer.noting():
        out = _qualified(writer, select, out)
        _order(writer, select, out)
    with writer.noting():
        lower_limit(writer, select, out)
    return out


def _from(writer: Writer, select: exp.Select, out: exp.Select) -> None:
    for join in select.args.get("joins") or []:
        if isinstance(join.this, exp.Unnest) or join.args.get("method"):
            raise refused(join, "UNNEST and ASOF as joins", remedy="compute it in another model that stays in DuckDB")
    lower_from(writer, select, out)
    for join in out.args.get("joins") or []:
        if any(call.name == "ignore" for call in join.find_all(exp.Anonymous)):
            raise refused(select, "an outer join without an equality of both sides", remedy="add one to ON")


def _noted(writer: Writer, projection: exp.Expr) -> exp.Expr:
    """`_projection`; NULL where it is refused, so that the others keep their places."""
    with writer.noting():
        return _projection(writer, projection)
    return exp.alias_(exp.null(), quote(projection.alias_or_name))


def _projection(writer: Writer, projection: exp.Expr) -> exp.Expr:
    name = projection.alias_or_name
    if not name or isinstance(projection, exp.Star):
        raise refused(projection, "a projection without a name", remedy="give it an alias")
    if len(name.encode()) > writer.warehouse.longest_name:
        most = writer.warehouse.longest_name
        raise refused(projection, f"a name of more than {most} bytes", remedy="give it a shorter alias")
    value = projection.unalias()
    if type_of(value).kind is Kind.NULL:
        raise refused(value, "a NULL without a type", remedy="cast it, as in NULL::VARCHAR")
    writer.check_type(value)
    return exp.alias_(writer.typed(value), quote(name))


def _group(writer: Writer, group: exp.Group) -> exp.Group:
    sets = [k for k in group.expressions if isinstance(k, exp.GroupingSets)] + (group.args.get("grouping_sets") or [])
    plain = [k for k in group.expressions if not isinstance(k, exp.GroupingSets)]
    several = len(sets) > 1 or (sets and plain)
    if several or any(group.args.get(part) for part in ("rollup", "cube", "all", "totals")):
        raise refused(group, "this form of grouping sets", remedy="write one GROUPING SETS")
    if sets:
        members = [exp.Tuple(expressions=[writer(k) for k in _members(m)]) for m in sets[0].expressions]
        return exp.Group(grouping_sets=[exp.GroupingSets(expressions=members)])
    return exp.Group(expressions=[writer(k) for k in plain])


def _members(member: exp.Expr) -> list[exp.Expr]:
    return list(member.expressions) if isinstance(member, exp.Tuple) else [member.unnest()]


def _qualified(writer: Writer, select: exp.Select, out: exp.Select) -> exp.Select:
    """QUALIFY, or a subquery that computes it as one more column."""
    clause = select.args.get("qualify")
    if clause is None:
        return out
    if writer.warehouse.qualifies:
        out.set("qualify", exp.Qualify(this=writer.condition(clause.this)))
        return out
    if select.args.get("distinct") is not None:
        raise refused(clause, "QUALIFY beside DISTINCT", remedy="put the DISTINCT into an outer query")
    kept, alias = writer.fresh("qualify"), writer.fresh("kept")
    out.append("expressions", exp.alias_(writer.condition(clause.this), quote(kept)))
    outer = exp.Select(expressions=[column(p.alias_or_name, alias) for p in select.expressions])
    outer.set("from_", exp.From(this=exp.Subquery(this=out, alias=exp.TableAlias(this=quote(alias)))))
    return outer.where(column(kept, alias), copy=False)


def _order(writer: Writer, query: exp.Query, out: exp.Select) -> None:
    order = query.args.get("order")
    if order is None:
        return
    plain = isinstance(query, exp.Select) and (query.args.get("qualify") is None or writer.warehouse.qualifies)
    names = [p.alias_or_name for p in query.selects]
    keys = []
    for item in order.expressions:
        key = item.this
        if isinstance(key, exp.Literal):
            raise refused(key, "ORDER BY a constant", remedy="name the column")
        by_name = isinstance(key, exp.Column) and not key.table
        if (by_name and key.name not in names) or (not by_name and not plain):
            raise refused(key, "ORDER BY what is no column of the result", remedy="order in an outer query")
        # A query that was wrapped is ordered by the columns of what is inside.
        inside = None if plain else out.args["from_"].this.alias
        written = column(key.name, inside) if by_name else writer(key)
        if type_of(key).kind is Kind.TEXT:
            written = _collated(writer, key, written, query)
        keys.append(placed(item, written))
    out.set("order", exp.Order(expressions=keys))


def _collated(writer: Writer, key: exp.Expr, written: exp.Expr, query: exp.Query) -> exp.Expr:
    """A key of text. A result's name stands alone in ORDER BY, so that its expression is written again."""
    if not writer.warehouse.collation or not isinstance(query, exp.Select):
        return writer.collated(written)
    if isinstance(written, exp.Column) and not written.table:
        projection = next(p for p in query.expressions if p.alias_or_name == key.name)
        if query.args.get("distinct") is not None:
            raise refused(key, "DISTINCT text in an order of its bytes", remedy="order in an outer query")
        return writer.collated(writer(projection.unalias()))
    return writer.collated(written)


def _set_operation(writer: Writer, query: exp.SetOperation) -> exp.Query:
    """Both sides converted to the common types; a subquery where the whole is ordered or cut."""
    if query.args.get("by_name") or query.args.get("side") or query.args.get("kind"):
        raise refused(query, "set operation BY NAME", remedy="list the columns in the same order on both sides")
    every = not query.args.get("distinct")
    if every and not isinstance(query, exp.Union):
        raise refused(query, f"{query.key.upper()} ALL", remedy="number the duplicates first")
    names = query.named_selects
    types = [t for _, t in writer.binder.describe(_bindable(query))]
    sides = [_side(writer, s, names, types) for s in (query.this, query.expression)]
    if isinstance(sides[1], exp.SetOperation) or (isinstance(sides[0], exp.SetOperation) and _binds(sides[0], query)):
        sides = [_around(writer, s, names) if isinstance(s, exp.SetOperation) else s for s in sides]
    joined = type(query)(this=sides[0], expression=sides[1], distinct=not every)
    if not any(query.args.get(part) for part in ("order", "limit", "offset")):
        return joined
    tail = _around(writer, joined, names)
    for item in query.args["order"].expressions if query.args.get("order") is not None else []:
        if isinstance(item.this, exp.Column) and item.this.name in names:
            item.this.meta["duck"] = types[names.index(item.this.name)]
            item.this.set("table", None)
    _order(writer, query, tail)
    lower_limit(writer, query, tail)
    return tail


def _binds(left: exp.SetOperation, query: exp.SetOperation) -> bool:
    """Whether ``left`` would fall apart without parentheses: only a row of UNION ALLs, or of UNIONs, reads the same."""
    return type(left) is not type(query) or left.args.get("distinct") != query.args.get("distinct")


def _around(writer: Writer, query: exp.Query, names: list[str]) -> exp.Select:
    alias = writer.fresh("union")
    tail = exp.Select(expressions=[exp.alias_(column(n, alias), quote(n)) for n in names])
    tail.set("from_", exp.From(this=exp.Subquery(this=query, alias=exp.TableAlias(this=quote(alias)))))
    return tail


def _side(writer: Writer, side: exp.Expr, names: list[str], types: list[DuckType]) -> exp.Query:
    """One side, every column cast to the common type and called by its common name."""
    assert isinstance(side, exp.Query)
    given = [t for _, t in writer.binder.describe(_bindable(side))]
    if isinstance(side, exp.Select):
        given = [_type_null(p.unalias(), w) or g for p, g, w in zip(side.expressions, given, types, strict=True)]
    inner = list(side.named_selects)
    query = write_query(writer, side)
    if given == types and inner == names:
        return query
    if isinstance(side, exp.Select) and isinstance(query, exp.Select) and query.args.get("distinct") is None:
        _retype(writer, side, query, names, types)
        return query
    if len(set(inner)) < len(inner):
        raise refused(side, "two columns of one name", remedy="give each column a name of its own")
    alias = writer.fresh("side")
    projections = []
    for old, name, have, want in zip(inner, names, given, types, strict=True):
        value = column(old, alias)
        value.meta["duck"] = have
        projections.append(exp.alias_(writer.converted(value, value, want), quote(name)))
    out = exp.Select(expressions=projections)
    out.set("from_", exp.From(this=exp.Subquery(this=query, alias=exp.TableAlias(this=quote(alias)))))
    return out


def _retype(writer: Writer, side: exp.Select, query: exp.Select, names: list[str], types: list[DuckType]) -> None:
    for given, written, name, want in zip(side.expressions, query.expressions, names, types, strict=True):
        value = writer.converted(given.unalias(), written.unalias(), want)
        written.replace(exp.alias_(value, quote(name)))


def _type_null(value: exp.Expr, wanted: DuckType) -> DuckType | None:
    """Gives a bare NULL the type of the other side, in place; None where ``value`` is something else."""
    if type_of(value).kind is not Kind.NULL:
        return None
    typed = exp.Cast(this=value.copy(), to=exp.DataType.build(wanted.name, dialect="duckdb"))
    typed.meta["duck"] = wanted
    value.replace(typed)
    return wanted


def _bindable(query: exp.Query) -> str:
    """SQL that DuckDB can describe, with the CTEs in sight."""
    around = visible_ctes(query)
    copy = without_params(query)
    if around and copy.args.get("with_") is None:
        copy.set("with_", exp.With(expressions=[c.copy() for c in around]))
    return copy.sql("duckdb")
