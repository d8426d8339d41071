"""How values of each type travel from ClickHouse to DuckDB in Parquet.

Both sides are expressions, mirrored: `to_parquet` is what ClickHouse selects, `from_parquet` what DuckDB makes
of the column it finds. What Parquet carries as it is passes unchanged. Measured with ClickHouse 26.7 and DuckDB 2.0:

- 128-bit integers arrive as bytes, and ``Time64`` is not written at all: they travel as text;
- text that is not UTF-8 can't be read: BLOBs travel as hexadecimal digits;
- every ``DateTime64`` arrives as TIMESTAMP WITH TIME ZONE, whose cast to TIMESTAMP depends on the session's
  time zone: its microseconds since the epoch do not.
"""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.types import DuckType, Kind

_AS_TEXT = frozenset({"HUGEINT", "UHUGEINT"})


def to_parquet(value: exp.Expr, kind: DuckType, depth: int = 0) -> exp.Expr:
    """The ClickHouse expression whose result Parquet carries; ``value`` is of the ClickHouse type of ``kind``."""
    if not _travels_changed(kind):
        return value
    if kind.kind is Kind.BLOB:
        return _call("hex", value)
    if kind.kind is Kind.LIST:
        return _call("arrayMap", _each(depth, to_parquet(_variable(depth), kind.item, depth + 1)), value)
    if kind.kind is Kind.STRUCT:
        fields = [to_parquet(_call("tupleElement", value, exp.Literal.string(n)), t, depth) for n, t in kind.fields]
        return _call("CAST", _call("tuple", *fields), exp.Literal.string(_wire(kind)))
    if kind.kind is Kind.MAP:
        return _call("mapApply", _each_entry(kind, depth), value)
    return _call("toString", value)


def from_parquet(value: exp.Expr, kind: DuckType, depth: int = 0) -> exp.Expr:
    """The DuckDB expression of type ``kind`` over a column that `to_parquet` wrote; NULL stays NULL."""
    return exp.cast(_restored(value, kind, depth), duckdb_type(kind))


def wire_type(kind: DuckType) -> str:
    """The ClickHouse type in which a column of ``kind`` is read from a file that `to_parquet` wrote."""
    return kind.clickhouse if not _travels_changed(kind) else _wire(kind)


def from_wire(column: str, kind: DuckType) -> str:
    """The ClickHouse expression that restores ``column`` (quoted), read as `wire_type`; lists, maps and structs
    of sources hold no BLOBs."""
    if not _travels_changed(kind):
        return column
    return f"unhex({column})" if kind.kind is Kind.BLOB else f"CAST({column}, '{kind.clickhouse}')"


def duckdb_type(kind: DuckType) -> exp.DataType:
    """``kind`` as sqlglot writes it for DuckDB."""
    return exp.DataType.build(kind.name, dialect="duckdb", udt=True)


def _restored(value: exp.Expr, kind: DuckType, depth: int) -> exp.Expr:
    if kind.kind is Kind.TIMESTAMP:
        suffix, unit = ("_ns", "epoch_ns") if kind.name == "TIMESTAMP_NS" else ("", "epoch_us")
        return _call(f"make_timestamp{suffix}", _call(unit, value))
    if kind.kind is Kind.BLOB:
        return _call("unhex", value)
    if kind.kind is Kind.LIST and _arrives_changed(kind.item):
        return _mapped(value, from_parquet(_variable(depth), kind.item, depth + 1), depth)
    if kind.kind is Kind.STRUCT and _arrives_changed(kind):
        fields = {n: from_parquet(_field(value, n), t, depth) for n, t in kind.fields}
        return exp.case().when(exp.Is(this=value.copy(), expression=exp.Null()), exp.Null()).else_(struct(fields))
    if kind.kind is Kind.MAP and _arrives_changed(kind):
        entry, key = _variable(depth), kind.fields[0][1]
        pair = {
            "key": from_parquet(_field(entry, "key"), key, depth + 1),
            "value": from_parquet(_field(entry, "value"), kind.item, depth + 1),
        }
        return _call("map_from_entries", _mapped(_call("map_entries", value), struct(pair), depth))
    return value


def _travels_changed(kind: DuckType) -> bool:
    """Whether ClickHouse must convert a value of ``kind``, or something in it."""
    own = kind.kind in (Kind.BLOB, Kind.TIME) or kind.name in _AS_TEXT
    return own or any(_travels_changed(inner) for inner in _parts(kind))


def _arrives_changed(kind: DuckType) -> bool:
    """Whether a cast alone does not restore a value of ``kind``."""
    own = kind.kind in (Kind.BLOB, Kind.TIMESTAMP)
    return own or any(_arrives_changed(inner) for inner in _parts(kind))


def _parts(kind: DuckType) -> list[DuckType]:
    inner = [t for _, t in kind.fields]
    return [*inner, kind.element] if kind.element is not None else inner


def _wire(kind: DuckType) -> str:
    """The ClickHouse type in which ``kind`` travels."""
    if kind.kind is Kind.LIST:
        return f"Array({_wire(kind.item)})"
    if kind.kind is Kind.STRUCT:
        return "Tuple(" + ", ".join(f"`{n}` {_wire(t)}" for n, t in kind.fields) + ")"
    if kind.kind is Kind.MAP:
        key = kind.fields[0][1]
        return f"Map({'String' if _travels_changed(key) else key.base}, {_wire(kind.item)})"
    return "Nullable(String)" if _travels_changed(kind) else kind.clickhouse


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[a.copy() for a in arguments])


def _variable(depth: int) -> exp.Expr:
    return exp.column(f"e{depth}")


def _each(depth: int, body: exp.Expr) -> exp.Expr:
    return exp.Lambda(this=body, expressions=[exp.to_identifier(f"e{depth}")])


def _each_entry(kind: DuckType, depth: int) -> exp.Expr:
    names = (f"k{depth}", f"v{depth}")
    types = (kind.fields[0][1], kind.item)
    pair = [to_parquet(exp.column(n), t, depth + 1) for n, t in zip(names, types, strict=True)]
    return exp.Lambda(this=exp.Tuple(expressions=pair), expressions=[exp.to_identifier(n) for n in names])


def _mapped(value: exp.Expr, body: exp.Expr, depth: int) -> exp.Expr:
    return _call("list_transform", value, _each(depth, body))


def _field(value: exp.Expr, name: str) -> exp.Expr:
    return _call("struct_extract", value, exp.Literal.string(name))


def struct(fields: dict[str, exp.Expr]) -> exp.Expr:
    """A DuckDB struct of these fields."""
    pairs = [exp.PropertyEQ(this=exp.to_identifier(n, quoted=True), expression=v) for n, v in fields.items()]
    return exp.Struct(expressions=pairs)
