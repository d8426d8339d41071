"""The tables of tests/fixtures in PostgreSQL, and answers of it in the form in which DuckDB's are compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from realtime.emit.warehouses.postgres import POSTGRES
from realtime.emit.warehouses.translate import readable
from realtime.emit.warehouses.warehouse import Warehouse
from realtime.transpile.annotate import is_aggregate
from realtime.transpile.types import DuckType, duck_type
from tests.postgres import Postgres
from tests.transpile.engines import Row, canonical, in_any_order, same

TABLES = ("num", "edge", "txt", "digits", "moment", "event", "stream", "flag")


def load(connection: duckdb.DuckDBPyConnection, postgres: Postgres, schema: str) -> None:
    """Creates `TABLES` in ``schema`` with the rows that ``connection`` holds."""
    tables = "".join(_table(connection, table) for table in TABLES)
    postgres.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema};\n{tables}")


def copy_table(connection: duckdb.DuckDBPyConnection, postgres: Postgres, name: str, database: str) -> None:
    """Creates ``schema.table`` with the rows that ``connection`` holds."""
    schema = name.partition(".")[0]
    postgres.execute(f"CREATE SCHEMA {schema};\n{_table(connection, name)}", database)


def _table(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    columns = [(n, duck_type(t)) for n, t, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]
    definitions = ", ".join(f'"{name}" {POSTGRES.type(kind)}' for name, kind in columns)
    fields = ", ".join(f'"{name}"::VARCHAR' for name, _ in columns)
    rows = connection.execute(f"SELECT {fields} FROM {table}").fetchall()
    lines = ["\t".join(_copied(value) for value in row) for row in rows]
    return "\n".join([f"CREATE TABLE {table} ({definitions});", f"COPY {table} FROM stdin;", *lines, "\\.", ""])


def _copied(value: str | None) -> str:
    """A value in the text form of COPY."""
    if value is None:
        return "\\N"
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def text_of(tree: exp.Query, warehouse: Warehouse) -> str:
    """The statement over tables without their database."""
    copy = tree.copy()
    for table in copy.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
    return readable(copy, warehouse)


def ask(
    postgres: Postgres, schema: str, sql: str, columns: Sequence[tuple[str, DuckType]], database: str = ""
) -> tuple[list[str], list[Row]]:
    """Types and rows of ``sql``, as a view of it gives them."""
    printed = postgres.execute(
        f"""SET search_path = {schema}; SET TimeZone = 'UTC'; CREATE TEMP VIEW _asked AS {sql};
        SELECT format_type(atttypid, NULL) FROM pg_attribute
        WHERE attrelid = '_asked'::regclass AND attnum > 0 ORDER BY attnum;
        SELECT to_json(_asked) FROM _asked;""",
        database,
    ).splitlines()
    types, rows = printed[: len(columns)], [_read(line) for line in printed[len(columns) :]]
    return types, [tuple(canonical(row[name], kind) for name, kind in columns) for row in rows]


def type_name(name: str) -> str:
    """A type's name as PostgreSQL prints it, without its numbers."""
    plain = name.partition("(")[0]
    zones = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}
    return {**zones, "time": "time without time zone"}.get(plain, plain)


def _read(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line, parse_float=Decimal)
    return {name: _moment(value) for name, value in found.items()}


def _moment(value: Any) -> Any:
    """A moment as JSON has it, with the blank that others have."""
    if isinstance(value, str) and len(value) > 10 and value[10] == "T" and value[4] == value[7] == "-":
        return value.replace("T", " ").removesuffix("+00:00")
    return value


def check(query: str, wanted: list[Row], found: list[Row]) -> None:
    """Asserts that the rows of ``query`` are the same; only what aggregates floats may differ in the last bits."""
    tree = sqlglot.parse_one(query, read="duckdb")
    tolerance = 1e-12 if any(is_aggregate(n) for n in tree.walk()) else 0.0
    if tree.args.get("order") is None:
        wanted, found = (in_any_order(rows, exact=not tolerance) for rows in (wanted, found))
    different = [(a, b) for a, b in zip(wanted, found, strict=False) if not same(a, b, tolerance)]
    assert not different, f"DuckDB, the warehouse: {different[0]}"
    assert len(wanted) == len(found)
