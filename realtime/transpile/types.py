"""DuckDB types as the binder prints them, and the ClickHouse types that hold the same values."""

from __future__ import annotations

import dataclasses
import enum
import functools

from sqlglot import exp
from sqlglot.errors import ParseError

from realtime.errors import RefusedError


class Kind(enum.StrEnum):
    """Families of types that behave alike."""

    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TEXT = "text"
    JSON = "json"
    ENUM = "enum"
    BLOB = "blob"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    TIME = "time"
    INTERVAL = "interval"
    UUID = "uuid"
    LIST = "list"
    ARRAY = "array"
    STRUCT = "struct"
    MAP = "map"
    NULL = "null"
    OTHER = "other"


NESTED = frozenset({Kind.LIST, Kind.ARRAY, Kind.STRUCT, Kind.MAP})
"""Kinds of which ClickHouse has no NULL."""
LISTS = frozenset({Kind.LIST, Kind.ARRAY})
"""Kinds of values that are one after the other: any number of them, or as many as the type says."""

INTEGERS: dict[str, tuple[str, int]] = {
    # DuckDB name: (ClickHouse name, digits of the widest value)
    "TINYINT": ("Int8", 3),
    "SMALLINT": ("Int16", 5),
    "INTEGER": ("Int32", 10),
    "BIGINT": ("Int64", 19),
    "HUGEINT": ("Int128", 39),
    "UTINYINT": ("UInt8", 3),
    "USMALLINT": ("UInt16", 5),
    "UINTEGER": ("UInt32", 10),
    "UBIGINT": ("UInt64", 20),
    "UHUGEINT": ("UInt128", 39),
}
SCALARS: dict[str, tuple[Kind, str]] = {
    "FLOAT": (Kind.FLOAT, "Float32"),
    "DOUBLE": (Kind.FLOAT, "Float64"),
    "BOOLEAN": (Kind.BOOLEAN, "Bool"),
    "VARCHAR": (Kind.TEXT, "String"),
    "JSON": (Kind.JSON, "String"),
    "BLOB": (Kind.BLOB, "String"),
    "DATE": (Kind.DATE, "Date32"),
    "TIMESTAMP": (Kind.TIMESTAMP, "DateTime64(6, 'UTC')"),
    "TIMESTAMP_S": (Kind.TIMESTAMP, "DateTime64(0, 'UTC')"),
    "TIMESTAMP_MS": (Kind.TIMESTAMP, "DateTime64(3, 'UTC')"),
    "TIMESTAMP_NS": (Kind.TIMESTAMP, "DateTime64(9, 'UTC')"),
    "TIMESTAMP WITH TIME ZONE": (Kind.TIMESTAMPTZ, "DateTime64(6, 'UTC')"),
    "TIME": (Kind.TIME, "Time64(6)"),
    "UUID": (Kind.UUID, "UUID"),
    "NULL": (Kind.NULL, "String"),
    '"NULL"': (Kind.NULL, "String"),
}


@dataclasses.dataclass(frozen=True)
class DuckType:
    """A DuckDB type. ``name`` is DuckDB's own spelling and is what equality means; ``size`` is an array's,
    ``values`` are an ENUM's, in their order."""

    name: str
    kind: Kind = dataclasses.field(compare=False)
    precision: int = dataclasses.field(default=0, compare=False)
    scale: int = dataclasses.field(default=0, compare=False)
    element: DuckType | None = dataclasses.field(default=None, compare=False)
    size: int = dataclasses.field(default=0, compare=False)
    fields: tuple[tuple[str, DuckType], ...] = dataclasses.field(default=(), compare=False)
    values: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def digits(self) -> int:
        """Decimal digits of the widest integer of this type."""
        return INTEGERS[self.name][1]

    @property
    def item(self) -> DuckType:
        """A list's or array's element or a map's value type."""
        assert self.element is not None, self.name
        return self.element

    @property
    def base(self) -> str:
        """The ClickHouse type without Nullable; RefusedError where none holds the same values."""
        if self.kind is Kind.INTEGER:
            return INTEGERS[self.name][0]
        if self.kind is Kind.DECIMAL:
            return f"Decimal({self.precision}, {self.scale})"
        if self.kind is Kind.ENUM:
            return "String"
        if self.kind is Kind.LIST:
            return f"Array({self.item.clickhouse})"
        if self.kind is Kind.ARRAY:
            return f"Array({self.item.base})"
        if self.kind is Kind.STRUCT:
            return "Tuple(" + ", ".join(f"`{n}` {t.clickhouse}" for n, t in self.fields) + ")"
        if self.kind is Kind.MAP:
            return f"Map({self.fields[0][1].base}, {self.item.clickhouse})"
        if self.name in SCALARS:
            return SCALARS[self.name][1]
        raise RefusedError(
            f"type {self.name} has no exact ClickHouse form",
            construct=self.name,
            remedy="cast the column to another type in the model",
        )

    @property
    def clickhouse(self) -> str:
        """The ClickHouse type of a value that may be NULL (lists, arrays, structs and maps can't be)."""
        return self.base if self.kind in NESTED else f"Nullable({self.base})"

    def holds(self, kind: Kind) -> bool:
        """Whether this is a type of ``kind``, or one of its elements or fields is."""
        inner = [t for _, t in self.fields] + ([self.element] if self.element is not None else [])
        return self.kind is kind or any(t.holds(kind) for t in inner)

    def __str__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: object) -> DuckType:
        """Itself, as every copy of a tree that holds it may: it never changes."""
        return self


@functools.cache
def duck_type(name: str) -> DuckType:
    """The type that DuckDB prints as ``name``.

    >>> duck_type("DECIMAL(10,2)[]").clickhouse
    'Array(Nullable(Decimal(10, 2)))'
    """
    if name in INTEGERS:
        return DuckType(name, Kind.INTEGER)
    if name in SCALARS:
        return DuckType(name, SCALARS[name][0])
    if name == "INTERVAL":
        return DuckType(name, Kind.INTERVAL)
    try:
        parsed = exp.DataType.build(name, dialect="duckdb")
    except ParseError:
        return DuckType(name, Kind.OTHER)
    return _nested(name, parsed)


@functools.cache
def integer_range(wanted: DuckType) -> tuple[int, int]:
    """The least and the greatest value of an integer type.

    >>> integer_range(duck_type("UTINYINT"))
    (0, 255)
    """
    name = wanted.base.removeprefix("U")
    bits = int(name.removeprefix("Int"))
    return (0, 2**bits - 1) if wanted.base.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


_VECTORS = ("float", "double")
"""What an array may hold: its elements are never NULL, as those of vectors aren't."""


def _nested(name: str, parsed: exp.DataType) -> DuckType:
    inner = parsed.expressions
    if parsed.is_type("decimal") and len(inner) == 2:
        precision, scale = (int(p.name) for p in inner)
        return DuckType(name, Kind.DECIMAL, precision=precision, scale=scale)
    if parsed.is_type("array", "list") and not parsed.args.get("values"):
        return DuckType(name, Kind.LIST, element=_printed(inner[0]))
    if parsed.is_type("array") and inner[0].is_type(*_VECTORS):
        return DuckType(name, Kind.ARRAY, element=_printed(inner[0]), size=int(parsed.args["values"][0].name))
    if parsed.is_type("enum"):
        return DuckType(name, Kind.ENUM, values=tuple(value.name for value in inner))
    if parsed.is_type("struct") and all(isinstance(f, exp.ColumnDef) for f in inner):
        fields = tuple((f.name, _printed(f.args["kind"])) for f in inner)
        return DuckType(name, Kind.STRUCT, fields=fields)
    if parsed.is_type("map"):
        key, value = (_printed(p) for p in inner)
        return DuckType(name, Kind.MAP, element=value, fields=(("key", key),))
    return DuckType(name, Kind.OTHER)


_SPELLING = {"INT": "INTEGER", "TEXT": "VARCHAR", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE", "REAL": "FLOAT"}
_SPELLING |= {"INT128": "HUGEINT", "UINT128": "UHUGEINT"}


def _printed(node: exp.Expr) -> DuckType:
    """A nested type in DuckDB's own spelling: sqlglot's differs for some scalars."""
    text = node.sql("duckdb")
    if isinstance(node, exp.DataType) and node.is_type("decimal"):
        text = text.replace(" ", "")
    if isinstance(node, exp.DataType) and node.is_type("array", "list"):
        size = "".join(value.name for value in node.args.get("values") or [])
        return duck_type(f"{_printed(node.expressions[0]).name}[{size}]")
    if isinstance(node, exp.DataType) and node.is_type("struct") and node.expressions[0].find(exp.ColumnDef):
        inner = (f"{f.this.sql('duckdb')} {_printed(f.args['kind']).name}" for f in node.expressions)
        return duck_type(f"STRUCT({', '.join(inner)})")
    return duck_type(_SPELLING.get(text, text))


BOOLEAN = duck_type("BOOLEAN")
BIGINT = duck_type("BIGINT")
HUGEINT = duck_type("HUGEINT")
DOUBLE = duck_type("DOUBLE")
VARCHAR = duck_type("VARCHAR")
DATE = duck_type("DATE")
TIMESTAMP = duck_type("TIMESTAMP")
