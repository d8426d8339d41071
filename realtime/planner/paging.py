"""A lambda's rows in pages: its query for the first one, and for the one after a row.

The lambda's own query, without its ORDER BY, becomes what both read. They show its columns and the order keys, keep
what comes after the row whose order keys are given, order it as the author does, and end after the rows of a page. Both
are DuckDB's still, so the compiler says what "after" means in ClickHouse: where NULL and NaN stand, how texts compare.
Measured with ClickHouse 26.7: the condition is found in the primary key, and rows are read in its order, as if it
were written into the lambda's own WHERE.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlglot
from sqlglot import exp

from realtime.errors import RefusedError
from realtime.planner.call_options import PageSizes
from realtime.planner.ir import AS_OF, CURSOR, PAGE_AFTER, PAGE_PLACE, PAGE_ROWS, PAGE_SIZE, PLACE, Column, Param
from realtime.planner.row_keys import RowKeys, value_of
from realtime.project.binder import Binder
from realtime.transpile.annotate import annotate, without_params
from realtime.transpile.form import call, form, quote, text
from realtime.transpile.lower import refused, shown
from realtime.transpile.transpile import resolved
from realtime.transpile.types import DuckType, Kind, duck_type

_PAGE, _ORDER = "__duet_page", "__duet_order_"
_KINDS = (
    Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL, Kind.BOOLEAN, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ,
)  # fmt: skip
"""Kinds whose values a cursor holds exactly. UUIDs are ordered by their text, which is their order."""


@dataclasses.dataclass(frozen=True)
class _Key:
    """An order key: the column ``name`` of what a page reads; ``said`` is what the author orders by."""

    name: str
    type: DuckType
    desc: bool
    nulls_first: bool
    said: str

    @property
    def value(self) -> exp.Expr:
        column = exp.column(self.name, _PAGE, quoted=True)
        return exp.cast(column, "VARCHAR", dialect="duckdb") if self.type.kind is Kind.UUID else column

    @property
    def bound(self) -> str:
        """The type that the key is bound as."""
        return "VARCHAR" if self.type.kind is Kind.UUID else self.type.name

    def __str__(self) -> str:
        return f"{self.said}{' desc' if self.desc else ''}{' nulls first' if self.nulls_first else ''}"


@dataclasses.dataclass(frozen=True)
class Pages:
    """Queries in DuckDB's dialect, whose last columns, named by `is_key`, are the order keys; ``keys`` are the types
    that these are bound as, ``order`` is the order in words."""

    first: exp.Query
    after: exp.Query
    keys: tuple[str, ...]
    order: str


def page_params(sizes: PageSizes) -> tuple[Param, ...]:
    """The parameters by which pages are asked for."""
    size = Param(
        name=PAGE_SIZE, type="BIGINT", clickhouse=duck_type("BIGINT").clickhouse, default=sizes.size, minimum=1,
        maximum=sizes.most, description="Rows of a page.",
    )  # fmt: skip
    cursor = Param(
        name=CURSOR, type="VARCHAR", clickhouse=duck_type("VARCHAR").clickhouse, required=False,
        description="Where the page begins: next_cursor of the page before, asked with the same parameters.",
    )  # fmt: skip
    return (size, cursor)


def pages(tree: exp.Query, params: Sequence[Param], columns: Sequence[Column], binder: Binder, keys: RowKeys) -> Pages:
    """The pages of ``tree``, a lambda's query in DuckDB's dialect with ``params`` and ``columns``, which compiles.

    RefusedError where its order does not tell all rows apart, or a key has no exact place in a cursor.
    """
    _check(tree, params)
    found = annotate(resolved(tree.copy(), binder), binder)
    _check_total(found, keys)
    inner, order = _read(tree, found, columns, binder)
    return Pages(
        first=_page(inner, order, columns),
        after=_page(inner, order, columns).where(_after(order), copy=False),
        keys=tuple(key.bound for key in order),
        order=", ".join(map(str, order)),
    )


def with_place(tree: exp.Query, params: Sequence[Param], types: Sequence[str]) -> exp.Query:
    """``tree``, a compiled page, in place, with the row's place in one column instead of its order keys of ``types``:
    the moment that it was asked for, where there is one, and the keys, each as the hexadecimal digits of its text."""
    assert isinstance(tree, exp.Select)
    keys = [p for p in tree.expressions if is_key(p.alias_or_name)]
    values = [_written(p.unalias(), of) for p, of in zip(keys, types, strict=True)]
    clock = next((p for p in params if p.name == AS_OF), None)
    if clock is not None:
        moment = exp.Placeholder(this=AS_OF, kind=exp.DataType.build(clock.clickhouse, dialect="clickhouse"))
        values.insert(0, _written(moment, clock.type))
    values.insert(0, text(PLACE))
    place = call("arrayStringConcat", exp.Array(expressions=values), ".")
    keys[0].replace(exp.alias_(place, quote(PAGE_PLACE)))
    for key in keys[1:]:
        key.pop()
    return tree


def _written(value: exp.Expr, of: str) -> exp.Expr:
    """NULL as a sign that no digit is; both zeros are one."""
    value = form("x + 0.", x=value) if duck_type(of).kind is Kind.FLOAT else value
    return form("ifNull(hex(toString(x)), '-')", x=value)


def is_key(name: str) -> bool:
    """Whether a page's column of that name is an order key."""
    return name.startswith(_ORDER)


def _check(tree: exp.Query, params: Sequence[Param]) -> None:
    taken = sorted({p.name for p in params} & {PAGE_SIZE, CURSOR})
    if taken:
        raise RefusedError(
            f"meta.lambda.paging: {', '.join(taken)} is a parameter of its own",
            construct=taken[0],
            remedy="call it otherwise: pages are asked for by page_size and cursor",
        )
    for part in ("limit", "offset", "fetch"):
        if tree.args.get(part) is not None:
            raise refused(
                tree.args[part],
                f"{part.upper()} of a lambda that answers in pages",
                remedy="leave it out: the caller's page_size limits the rows; or drop `paging`",
            )
    distinct = tree.args.get("distinct")
    if isinstance(distinct, exp.Distinct) and distinct.args.get("on") is not None:
        raise refused(
            tree,
            "DISTINCT ON of a lambda that answers in pages: its ORDER BY picks rows as well",
            remedy="write QUALIFY row_number() OVER (PARTITION BY … ORDER BY …) = 1; ORDER BY is that of pages then",
        )


def _check_total(query: exp.Query, keys: RowKeys) -> None:
    """RefusedError where ORDER BY may leave two rows in the same place."""
    order = query.args.get("order")
    shown_as = {p.alias_or_name: _place_of(p, query) for p in query.selects}
    known = keys.of_select(query) if isinstance(query, exp.Select) else keys.of_query(query)
    ordered = set()
    for item in order.expressions if order is not None else ():
        alone = _alone(item.this)
        ordered.add(shown_as.get(alone, alone) if alone else value_of(item.this))
    names = {value: name for name, value in reversed(shown_as.items())}
    lacking = [sorted(names.get(v, v.rpartition(".")[2]) for v in key - ordered) for key in known]
    if order is not None and [] in lacking:
        return
    nearest = ", ".join(sorted(lacking, key=len)[0] if lacking else ())
    if order is None:
        what, remedy = "there is no ORDER BY", f"write ORDER BY {nearest or 'the columns by which rows are told apart'}"
    elif lacking:
        what, remedy = "ORDER BY does not tell all rows apart", f"add {nearest} at its end"
    else:
        what = "ORDER BY is not known to tell all rows apart"
        remedy = "test columns of the model as `unique` and `not_null` in dbt, or group by them, and order by them last"
    at = order if order is not None else query
    raise refused(at, f"meta.lambda.paging: {what}", remedy=remedy, construct=shown(at))


def _alone(key: exp.Expr) -> str:
    """The column of the result that ``key`` names; "" where it is an expression over what is read."""
    key = key.unnest()
    return key.name if isinstance(key, exp.Column) and not key.table else ""


def _place_of(projection: exp.Expr, query: exp.Query) -> str:
    return value_of(projection.unalias()) if isinstance(query, exp.Select) else projection.alias_or_name.lower()


def _read(
    tree: exp.Query, found: exp.Query, columns: Sequence[Column], binder: Binder
) -> tuple[exp.Query, tuple[_Key, ...]]:
    """What pages read, and its order; ``found`` is ``tree`` resolved."""
    inner = tree.copy()
    inner.set("order", None)
    authored = tree.args["order"].expressions
    names = {c.name.lower(): c.name for c in columns}
    values = {value_of(p.unalias()): p.alias_or_name for p in reversed(found.selects)}
    items: list[tuple[str, exp.Ordered]] = []
    for at, item in enumerate(found.args["order"].expressions):
        name = _alone(item.this) or values.get(value_of(item.this), "")
        if not name:
            name = f"{_ORDER}of_{at + 1}"
            _show(inner, exp.alias_(authored[at].this.copy(), name, quoted=True), item)
        items.append((names.get(name.lower(), name), item))
    types = dict(binder.describe(without_params(inner).sql("duckdb")))
    keys = tuple(_key(name, types[name], item) for name, item in items)
    return inner, keys


def _show(inner: exp.Query, value: exp.Expr, item: exp.Ordered) -> None:
    """Shows ``value``, by which ``inner`` is ordered, as a column more."""
    if not isinstance(inner, exp.Select) or inner.args.get("distinct") is not None:
        raise refused(item, "ORDER BY names no column of the result", remedy="order by columns of the result")
    inner.append("expressions", value)


def _key(name: str, of: DuckType, item: exp.Ordered) -> _Key:
    said = shown(item.this)
    if of.kind not in (*_KINDS, Kind.UUID) or of.name == "TIMESTAMP_NS":
        raise refused(
            item,
            f"meta.lambda.paging: pages can't begin after a {of}",
            remedy="order by a column of another type, or by a cast or a field of it",
        )
    return _Key(name, of, bool(item.args.get("desc")), bool(item.args.get("nulls_first")), said)


def _page(inner: exp.Query, order: Sequence[_Key], columns: Sequence[Column]) -> exp.Select:
    shown_columns = [exp.alias_(exp.column(c.name, _PAGE, quoted=True), c.name, quoted=True) for c in columns]
    places = [exp.alias_(k.value, f"{_ORDER}{i}", quoted=True) for i, k in enumerate(order, start=1)]
    page = exp.select(*shown_columns, *places).from_(exp.Subquery(this=inner.copy(), alias=_alias()))
    items = [exp.Ordered(this=k.value, desc=k.desc, nulls_first=k.nulls_first) for k in order]
    page.set("order", exp.Order(expressions=items))
    page.set("limit", exp.Limit(expression=_param(PAGE_ROWS, "BIGINT")))
    return page


def _alias() -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier(_PAGE, quoted=True))


def _param(name: str, of: str) -> exp.Expr:
    return sqlglot.parse_one(f"CAST(${name} AS {of})", read="duckdb")


def _after(order: Sequence[_Key]) -> exp.Expr:
    """That a row comes after the one whose keys are bound: its first key does, or it is the same and the rest does."""
    found: exp.Expr | None = None
    for number in range(len(order), 0, -1):
        key, given = order[number - 1], _param(f"{PAGE_AFTER}{number}", order[number - 1].bound)
        later = _later(key, given)
        found = later if found is None else exp.or_(later, exp.and_(_same(key, given), found))
    assert found is not None
    return found


def _later(key: _Key, given: exp.Expr) -> exp.Expr:
    """That ``key`` comes after ``given``; NULL is at the end that the author says."""
    compared = (exp.LT if key.desc else exp.GT)(this=key.value, expression=given.copy())
    last, first = (given.copy(), key.value) if key.nulls_first else (key.value, given.copy())
    return exp.or_(compared, exp.and_(last.is_(exp.null()), exp.not_(first.is_(exp.null()))))


def _same(key: _Key, given: exp.Expr) -> exp.Expr:
    both = exp.and_(key.value.is_(exp.null()), given.copy().is_(exp.null()))
    return exp.or_(exp.EQ(this=key.value, expression=given.copy()), both)
