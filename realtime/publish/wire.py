"""How a batch row of each type travels to ClickHouse: as Arrow, and as text where Arrow would change the value.

`to_wire` is what DuckDB selects, `wire_type` the ClickHouse type that this arrives as, and a CAST to the column's own
type restores it. Measured with DuckDB 2.0 and ClickHouse 26.7: Arrow has no 128-bit integers (DuckDB makes decimals of
38 digits of them), UUIDs and JSON arrive as other types, ENUMs as dictionaries, and TIME is not read.
Of a DATE column ClickHouse checks the range also where it is NULL, of whatever bytes stand there.

`unfit` tells the values that the column's ClickHouse type does not hold: they must not be copied.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.ingest.parquet import struct
from realtime.transpile.types import NESTED, DuckType, Kind

_AS_TEXT = frozenset({Kind.UUID, Kind.JSON, Kind.ENUM, Kind.TIME, Kind.DATE})
_WIDE = frozenset({"HUGEINT", "UHUGEINT"})
# Date32 and DateTime64 hold these; of what is outside they would take the nearest, without a word.
_FIRST, _LAST_DAY, _LAST = "1900-01-01", "2299-12-31", "2299-12-31 23:59:59.999999"
_LAST_NANOSECOND = "2262-04-11 23:47:16.854775806"


def to_wire(value: exp.Expr, kind: DuckType, depth: int = 0) -> exp.Expr:
    """The DuckDB expression that Arrow carries without loss; ``value`` is of type ``kind``."""
    if not _changes(kind):
        return value
    if kind.kind is Kind.ARRAY:
        return _as_list(value, kind)
    if kind.kind is Kind.LIST:
        return _each(value, lambda element: to_wire(element, kind.item, depth + 1), depth)
    if kind.kind is Kind.STRUCT:
        return struct({name: to_wire(_field(value, name), inner, depth) for name, inner in kind.fields})
    if kind.kind is Kind.MAP:
        entries = _call("map_entries", value)
        return _call("map_from_entries", _each(entries, lambda entry: _pair(entry, kind, depth), depth))
    return exp.cast(value.copy(), exp.DataType.build("VARCHAR"))


def wire_type(kind: DuckType) -> str:
    """The ClickHouse type of what `to_wire` gives."""
    if kind.kind is Kind.LIST:
        return f"Array({wire_type(kind.item)})"
    if kind.kind is Kind.ARRAY:
        return f"Array({kind.item.clickhouse})"
    if kind.kind is Kind.STRUCT:
        return "Tuple(" + ", ".join(f"`{name}` {wire_type(inner)}" for name, inner in kind.fields) + ")"
    if kind.kind is Kind.MAP:
        key = kind.fields[0][1]
        return f"Map({'String' if _changes(key) else key.base}, {wire_type(kind.item)})"
    return "Nullable(String)" if _changes(kind) else kind.clickhouse


def unfit(value: exp.Expr, kind: DuckType, depth: int = 0) -> exp.Expr | None:
    """The DuckDB condition that ClickHouse does not hold ``value``; None where it holds every value of ``kind``."""
    bounds = _bounds(kind)
    if bounds is not None:
        low, high = (
            exp.cast(exp.Literal.string(bound), exp.DataType.build(kind.name, dialect="duckdb")) for bound in bounds
        )
        return exp.Not(this=exp.Between(this=value.copy(), low=low, high=high))
    if kind.kind not in NESTED:
        return None
    found: exp.Expr = exp.Is(this=value.copy(), expression=exp.Null())
    for inner in _unfit_inside(value, kind, depth):
        found = exp.or_(found, inner)
    return found


def _as_list(value: exp.Expr, kind: DuckType) -> exp.Expr:
    return exp.cast(value.copy(), exp.DataType.build(f"{kind.item.name}[]", dialect="duckdb"))


def _bounds(kind: DuckType) -> tuple[str, str] | None:
    if kind.kind is Kind.DATE:
        return _FIRST, _LAST_DAY
    if kind.name == "TIMESTAMP_NS":
        return _FIRST, _LAST_NANOSECOND
    return (_FIRST, _LAST) if kind.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ) else None


def _unfit_inside(value: exp.Expr, kind: DuckType, depth: int) -> list[exp.Expr]:
    if kind.kind is Kind.STRUCT:
        parts = [unfit(_field(value, name), inner, depth) for name, inner in kind.fields]
        return [part for part in parts if part is not None]
    if kind.kind is Kind.ARRAY:
        known = _call("list_count", _as_list(value, kind))
        return [exp.NEQ(this=known, expression=exp.Literal.number(kind.size))]
    pieces = [(value, kind.item)] if kind.kind is Kind.LIST else []
    if kind.kind is Kind.MAP:
        pieces = [(_call("map_keys", value), kind.fields[0][1]), (_call("map_values", value), kind.item)]
    found: list[exp.Expr] = []
    for elements, inner in pieces:
        variable = exp.column(f"e{depth}")
        condition = unfit(variable, inner, depth + 1)
        if condition is not None:
            bad = exp.Lambda(this=condition, expressions=[exp.to_identifier(f"e{depth}")])
            found.append(
                exp.GT(this=_call("len", _call("list_filter", elements, bad)), expression=exp.Literal.number(0))
            )
    return found


def _changes(kind: DuckType) -> bool:
    """Whether a value of ``kind``, or something in it, travels as text, or an array as a list."""
    if kind.kind in _AS_TEXT or kind.kind is Kind.ARRAY or kind.name in _WIDE:
        return True
    inner = [t for _, t in kind.fields] + ([kind.element] if kind.element is not None else [])
    return any(_changes(t) for t in inner)


def _pair(entry: exp.Expr, kind: DuckType, depth: int) -> exp.Expr:
    key = to_wire(_field(entry, "key"), kind.fields[0][1], depth + 1)
    return struct({"key": key, "value": to_wire(_field(entry, "value"), kind.item, depth + 1)})


def _each(value: exp.Expr, change: Callable[[exp.Expr], exp.Expr], depth: int) -> exp.Expr:
    variable = f"e{depth}"
    body = exp.Lambda(this=change(exp.column(variable)), expressions=[exp.to_identifier(variable)])
    return _call("list_transform", value, body)


def _field(value: exp.Expr, name: str) -> exp.Expr:
    return _call("struct_extract", value, exp.Literal.string(name))


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[a.copy() for a in arguments])
