"""FROM and JOIN: tables, subqueries and joins of every kind."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from realtime.transpile.correlated import outer_columns
from realtime.transpile.form import call, column, number, quote
from realtime.transpile.lower import Lower, refused, type_of
from realtime.transpile.origins import cte_of
from realtime.transpile.rules.unnest import array_join
from realtime.transpile.types import Kind

_JOIN_ARGS = frozenset({"this", "on", "side", "kind", "method", "using"})
_PLAIN = (
    *(exp.Column, exp.Identifier, exp.Literal, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Paren, exp.And, exp.Or),
    *(exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Add, exp.Sub, exp.Mul, exp.Interval, exp.Var),
    *(exp.Lower, exp.Upper, exp.Trim, exp.TimestampTrunc, exp.DateTrunc),
)
_ASOF = (Kind.INTEGER, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.DECIMAL)
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
        out.append("joins", array_join(lower, join, unnest) if is_list else _join(lower, join, origin.this))


def _source(lower: Lower, source: exp.Expr) -> exp.Expr:
    if isinstance(source, exp.Table):
        return _table(source)
    if isinstance(source, exp.Subquery):
        if source.args["alias"].args.get("columns"):
            raise refused(source, "column names in the alias of a subquery", remedy="name the columns inside")
        if outer_columns(source.this):
            raise refused(
                source, "a LATERAL query of this form", remedy="select from one table, or unnest a list of the values"
            )
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


def _join(lower: Lower, join: exp.Join, first: exp.Expr) -> exp.Join:
    """``join`` of a select that reads ``first`` before anything else."""
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
    method = (join.args.get("method") or "").upper() or None
    if method == "ASOF":
        _check_asof(join, condition)
    parts = [p for p in _conjuncts(condition) if p.find(exp.Column) is not None]
    holds = all(_holds(lower, p) for p in _conjuncts(condition) if p.find(exp.Column) is None)
    if not side and not parts and holds:
        return exp.Join(this=source, kind="CROSS")
    on = [_condition(lower, parts, join.alias_or_name)] if parts else []
    if not holds or ((side or method) and not any(_is_equality(p, join.alias_or_name) for p in parts)):
        on.insert(0, _ends_equal(lower, first, join, holds=holds))
    kind = None if side or method else "INNER"
    return exp.Join(this=source, on=exp.and_(*on, copy=False), side=side or None, kind=kind, method=method)


def _holds(lower: Lower, constant: exp.Expr) -> bool:
    """Whether a condition without columns is true: ClickHouse takes NULL for true, and wants a column in each."""
    if constant.find(exp.Parameter, exp.Placeholder, exp.Query) is not None:
        raise refused(constant, "a condition of JOIN that names no column", remedy="put it into WHERE")
    lower(constant)  # what depends on the clock is refused
    return lower.binder.constant(constant) is True


def _condition(lower: Lower, conjuncts: list[exp.Expr], joined: str) -> exp.Expr:
    """ON: what may be NULL whatever the row is 0 instead, for ClickHouse takes a constant NULL for true.
    Keys of the join stay as they are: it finds them in plain equalities only, and NULL is no key."""
    parts = [
        lower.condition(p) if _is_plain(p) or _is_key(p, joined) else call("ifNull", lower.condition(p), 0)
        for p in conjuncts
    ]
    return exp.and_(*parts, copy=False)


def _is_key(condition: exp.Expr, joined: str) -> bool:
    """Whether ``condition`` equates both sides of the join, neither of them NULL by a literal."""
    branches = (exp.Case, exp.If, exp.Coalesce, exp.Is, exp.In)
    bare = (null for null in condition.find_all(exp.Null) if null.find_ancestor(*branches) is None)
    return _is_equality(condition, joined) and next(bare, None) is None


def _is_plain(condition: exp.Expr) -> bool:
    """Whether ``condition`` only compares columns and literals."""
    return all(isinstance(node, _PLAIN) and not isinstance(node, exp.TryCast) for node in condition.walk())


def _conjuncts(condition: exp.Expr) -> list[exp.Expr]:
    return [p.unnest() for p in (condition.flatten() if isinstance(condition, exp.And) else [condition])]


def _is_equality(condition: exp.Expr, joined: str) -> bool:
    """Whether ``condition`` equates a column of ``joined`` with one of another table."""
    if not isinstance(condition, (exp.EQ, exp.NullSafeEQ)):
        return False
    left, right = ({c.table for c in s.find_all(exp.Column)} for s in (condition.left, condition.right))
    return bool(left and right) and (left == {joined}) != (right == {joined})


def _ends_equal(lower: Lower, first: exp.Expr, join: exp.Join, *, holds: bool) -> exp.Expr:
    """An equality between both sides that always holds, or never: ClickHouse asks outer joins for one, and its
    conditions for columns."""
    left, right = (call("ignore", _any_column(lower, source)) for source in (first, join.this))
    return exp.EQ(this=left, expression=right if holds else exp.Add(this=right, expression=number(1)))


def _any_column(lower: Lower, source: exp.Expr) -> exp.Expr:
    """A column of ``source``, which stands in FROM."""
    names: Iterable[str] = ()
    if isinstance(source, exp.Subquery):
        names = source.this.named_selects
    elif isinstance(source, exp.Table):
        cte = cte_of(source)
        key = (source.catalog.lower(), source.db.lower(), source.name.lower())
        names = lower.binder.columns.get(key, ()) if cte is None else cte.named_selects
    found = next(iter(names), None)
    if found is None:
        raise refused(source, "an outer join of what has no columns", remedy="name a column of both sides in ON")
    return column(found, source.alias_or_name)


def _check_asof(join: exp.Join, condition: exp.Expr) -> None:
    parts = _conjuncts(condition)
    if join.side not in ("", "LEFT"):
        raise refused(
            join, f"ClickHouse has no ASOF {join.side} JOIN", remedy="swap both sides and write ASOF LEFT JOIN"
        )
    for side in [s for p in parts if isinstance(p, _COMPARES) for s in (p.left, p.right)]:
        found = type_of(side)
        if found.kind not in _ASOF or found.name in ("HUGEINT", "UHUGEINT"):
            raise refused(side, f"ASOF JOIN by {found}", remedy="compare dates, timestamps or integers to 64 bits")
    if sum(isinstance(p, _COMPARES) for p in parts) != 1:
        raise refused(join, "ASOF JOIN takes equalities and exactly one inequality", remedy="write it so in ON")
