"""Lists as rows: ``unnest`` is ARRAY JOIN, a series of constants ``numbers(n)``."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call, cast, column, number, quote
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.rules import series
from realtime.transpile.types import Kind

_ELEMENT = "element"


def unnest_selected(lower: Lower, select: exp.Select, out: exp.Select) -> None:
    """Writes the lists that ``select`` unnests in its select list into the FROM of ``out``.

    Several side by side give as many rows as the longest, NULL where one has ended.
    """
    nodes = [n for p in select.expressions for n in _explodes(p)]
    if not nodes or _is_array_join(select, nodes):
        return
    _check(select, nodes)
    if len(nodes) == 1 and not select.args.get("from_") and _from_numbers(lower, nodes[0], out):
        return
    if not select.args.get("from_"):
        one = exp.Subquery(this=exp.select("1"), alias=exp.TableAlias(this=quote(lower.fresh("one"))))
        out.set("from_", exp.From(this=one))
    lists = [as_list(lower, n.this) for n in nodes]
    if len(lists) > 1:
        longest = call("greatest", *(call("length", each) for each in lists))
        lists = [call("arrayResize", each, longest, exp.null()) for each in lists]
    elements = []
    for node, items in zip(nodes, lists, strict=True):
        node.meta[_ELEMENT] = column(lower.fresh("unnest"))
        elements.append(exp.alias_(items, quote(node.meta[_ELEMENT].name)))
    out.append("joins", exp.Join(this=elements[0], expressions=elements[1:], kind="ARRAY"))


def _explodes(projection: exp.Expr) -> list[exp.Explode]:
    return [n for n in projection.walk(prune=lambda n: isinstance(n, exp.Query)) if isinstance(n, exp.Explode)]


def _is_array_join(select: exp.Select, nodes: list[exp.Explode]) -> bool:
    """Whether ``arrayJoin`` in the select list is enough, as in a plain select with one list by itself."""
    alone = len(nodes) == 1 and isinstance(nodes[0].parent, exp.Alias) and select.args.get("from_") is not None
    return alone and not any(select.args.get(part) for part in ("order", "limit", "offset", "distinct", *_GROUPING))


_GROUPING = ("group", "having", "qualify", "windows")


def _check(select: exp.Select, nodes: list[exp.Explode]) -> None:
    grouped = any(select.args.get(p) for p in _GROUPING)
    if grouped or any(p.find(exp.Window, exp.AggFunc) for p in select.expressions):
        raise refused(
            nodes[0], "unnest beside GROUP BY, aggregates or windows", remedy="select unnest(list) AS x in a CTE"
        )


def element(lower: Lower, node: exp.Explode) -> exp.Expr:
    """One element of the list that ``node`` unnests, in the row that it makes."""
    found: exp.Expr | None = node.meta_get(_ELEMENT)
    if found is not None:
        return found.copy()
    select = node.parent.parent if isinstance(node.parent, exp.Alias) else None
    if not isinstance(select, exp.Select):
        raise refused(node, "unnest outside the select list", remedy="select unnest(list) AS x in a CTE")
    _check(select, [node])
    return call("arrayJoin", as_list(lower, node.this))


def as_list(lower: Lower, node: exp.Expr) -> exp.Expr:
    """A list to be unnested: of one that is NULL there are no rows."""
    if type_of(node).kind is not Kind.LIST:
        raise refused(node, f"unnest of {type_of(node)}", remedy="unnest a list")
    inner = node.unnest()
    if isinstance(inner, exp.GenerateSeries):
        return series.as_list(lower, inner)
    return lower(node)


def _from_numbers(lower: Lower, node: exp.Explode, out: exp.Select) -> bool:
    """Reads the numbers of a constant series from ``numbers(n)``; False where ``node`` has none."""
    items = node.this.unnest()
    found = series.constant(lower, items) if isinstance(items, exp.GenerateSeries) else None
    if found is None:
        return False
    alias = lower.fresh("series")
    table = exp.Table(this=call("numbers", number(found.size)), alias=exp.TableAlias(this=quote(alias)))
    out.set("from_", exp.From(this=table))
    node.meta[_ELEMENT] = cast(found.at(column("number", alias)), type_of(node).clickhouse)
    return True


def array_join(lower: Lower, join: exp.Join, unnest: exp.Unnest) -> exp.Join:
    """``CROSS JOIN UNNEST(list) AS t(x)``; the element is a name of its own, for ARRAY JOIN has no table."""
    condition, offset = join.args.get("on"), unnest.args.get("offset")
    every = condition is None or (isinstance(condition, exp.Boolean) and bool(condition.this))
    columns = unnest.args["alias"].args.get("columns") if unnest.args.get("alias") is not None else None
    if join.side not in ("", "LEFT") or not every or len(unnest.expressions) != 1 or not columns:
        raise refused(join, "this form of UNNEST as a join", remedy="write CROSS JOIN UNNEST(list) AS t(x)")
    items = as_list(lower, unnest.expressions[0])
    more = []
    if offset:
        # The default of what may be NULL is NULL: of an empty list LEFT ARRAY JOIN gives it, too.
        numbers = cast(call("arrayEnumerate", items), "Array(Nullable(Int64))")
        more = [_named(numbers, unnest, offset.name)]
    this = _named(items, unnest, columns[0].name)
    return exp.Join(this=this, expressions=more, kind="ARRAY", side=join.side or None)


def _named(items: exp.Expr, unnest: exp.Unnest, name: str) -> exp.Expr:
    return exp.alias_(items.copy(), quote(element_name(unnest.alias, name)))


def element_name(table: str, column: str) -> str:
    """What the element of an unnested list is called."""
    return f"_{table}_{column}"


def is_unnested(column: exp.Column) -> bool:
    """Whether ``column`` is the element of a list that a select around it unnests as a join."""
    select = column.find_ancestor(exp.Select)
    while select is not None:
        for join in select.args.get("joins") or []:
            if isinstance(join.this, exp.Unnest) and join.this.alias == column.table:
                return True
        select = select.find_ancestor(exp.Select)
    return False


RULES: dict[type[exp.Expr], Rule] = {exp.Explode: rule(element)}
