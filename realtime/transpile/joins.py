"""FROM and JOIN: tables, subqueries and joins of every kind."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.form import call, quote
from realtime.transpile.lower import Lower, refused
from realtime.transpile.rules.unnest import array_join

_JOIN_ARGS = frozenset({"this", "on", "side", "kind", "method", "using"})
_PLAIN = (
    *(exp.Column, exp.Identifier, exp.Literal, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Paren, exp.And, exp.Or),
    *(exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Add, exp.Sub, exp.Mul, exp.Interval, exp.Var),
    *(exp.Lower, exp.Upper, exp.Trim, exp.TimestampTrunc, exp.DateTrunc),
)
_COMPARES = (exp.GT, exp.GTE, exp.LT, exp.LTE)


def lower_from(lower: Lower, select: exp.Select, out: exp.Select) -> None:
    """Writes FROM and the joins of ``select`` into ``out``."""
    origin = select.args.get("from_")
    if origin is None:
        return
    out.set("from_", exp.From(this=_source(lower, origin.this)))
    for join in select.args.get("joins") or []:
        unnest = join.this
        is_list = isinstance(unnest, exp.Unnest)
        out.append("joins", array_join(lower, join, unnest) if is_list else _join(lower, join))


def _source(lower: Lower, source: exp.Expr) -> exp.Expr:
    if isinstance(source, exp.Table):
        return _table(source)
    if isinstance(source, exp.Subquery):
        if source.args["alias"].args.get("columns"):
            raise refused(source, "column names in the alias of a subquery", remedy="name the columns inside")
        alias = exp.TableAlias(this=quote(source.alias))
        return exp.Subquery(this=lower.query(source.this), alias=alias)
    raise refused(source, f"{source.key} in FROM has no exact form", remedy="read a table, a CTE or a subquery")


def _table(table: exp.Table) -> exp.Table:
    if not isinstance(table.this, exp.Identifier):
        raise refused(table, "a table function has no exact form", remedy="load its rows as a source")
    unknown = {k for k, v in table.args.items() if v not in (None, False, [])} - {"this", "db", "catalog", "alias"}
    if unknown or table.args["alias"].args.get("columns"):
        raise refused(table, f"{', '.join(sorted(unknown)) or 'column aliases'} on a table", remedy="use a CTE")
    names = {part: quote(table.args[part].name) for part in ("this", "db", "catalog") if table.args.get(part)}
    return exp.Table(**names, alias=exp.TableAlias(this=quote(table.alias)))


def _join(lower: Lower, join: exp.Join) -> exp.Join:
    unknown = {k for k, v in join.args.items() if v not in (None, False, [])} - _JOIN_ARGS
    if unknown:
        raise refused(join, f"{', '.join(sorted(unknown))} of JOIN has no exact form")
    source = _source(lower, join.this)
    condition = join.args.get("on")
    side = join.side
    if condition is None:
        if side or join.args.get("using"):
            raise refused(join, f"{side or 'USING'} JOIN without ON", remedy="write the condition with ON")
        return exp.Join(this=source, kind="CROSS")
    if isinstance(condition, exp.Boolean):
        raise refused(join, "JOIN ON a constant", remedy="write CROSS JOIN")
    if any(part.find(exp.Column) is None for part in _conjuncts(condition)):
        raise refused(join, "a condition of JOIN that names no column", remedy="put it into WHERE")
    on = _condition(lower, condition, join.alias_or_name)
    if side and not _has_equality(condition, join.alias_or_name):
        on = exp.and_(_always_equal(lower, join, condition), on, copy=False)
    method = (join.args.get("method") or "").upper() or None
    if method == "ASOF":
        _check_asof(join, condition)
    kind = None if side or method else "INNER"
    return exp.Join(this=source, on=on, side=side or None, kind=kind, method=method)


def _condition(lower: Lower, condition: exp.Expr, joined: str) -> exp.Expr:
    """ON: what may be NULL whatever the row is 0 instead, for ClickHouse takes a constant NULL for true.
    Keys of the join stay as they are: it finds them in plain equalities only, and NULL is no key."""
    parts = [
        lower.condition(p) if _is_plain(p) or _is_key(p, joined) else call("ifNull", lower.condition(p), 0)
        for p in _conjuncts(condition)
    ]
    return exp.and_(*parts, copy=False)


def _is_key(condition: exp.Expr, joined: str) -> bool:
    """Whether ``condition`` equates both sides of the join, neither of them NULL by a literal."""
    branches = (exp.Case, exp.If, exp.Coalesce, exp.Is, exp.In)
    bare = (null for null in condition.find_all(exp.Null) if null.find_ancestor(*branches) is None)
    return _has_equality(condition, joined) and next(bare, None) is None


def _is_plain(condition: exp.Expr) -> bool:
    """Whether ``condition`` only compares columns and literals."""
    return all(isinstance(node, _PLAIN) and not isinstance(node, exp.TryCast) for node in condition.walk())


def _conjuncts(condition: exp.Expr) -> list[exp.Expr]:
    return [p.unnest() for p in (condition.flatten() if isinstance(condition, exp.And) else [condition])]


def _has_equality(condition: exp.Expr, joined: str) -> bool:
    """Whether a top-level conjunct equates a column of ``joined`` with one of another table."""
    for found in _conjuncts(condition):
        if isinstance(found, (exp.EQ, exp.NullSafeEQ)):
            left, right = ({c.table for c in s.find_all(exp.Column)} for s in (found.left, found.right))
            if left and right and (left == {joined}) != (right == {joined}):
                return True
    return False


def _always_equal(lower: Lower, join: exp.Join, condition: exp.Expr) -> exp.Expr:
    """An equality that always holds, for ClickHouse asks outer joins for one between both sides."""
    columns = list(condition.find_all(exp.Column))
    joined = next((c for c in columns if c.table == join.alias_or_name), None)
    other = next((c for c in columns if c.table != join.alias_or_name), None)
    if joined is None or other is None:
        raise refused(join, f"{join.side} JOIN on one side alone", remedy="add an equality of keys to ON")
    return exp.EQ(this=call("ignore", lower(other)), expression=call("ignore", lower(joined)))


def _check_asof(join: exp.Join, condition: exp.Expr) -> None:
    parts = _conjuncts(condition)
    if sum(isinstance(p, _COMPARES) for p in parts) != 1 or len(parts) < 2:
        raise refused(join, "ASOF JOIN takes equalities and exactly one inequality", remedy="write it so in ON")
