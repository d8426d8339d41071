"""Statements in authored dialects and what they become, as tests.transpile.cases reads them."""

from __future__ import annotations

from realtime.dialects.translate import to_duckdb
from realtime.project.binder import Binder
from tests.transpile.cases import FIXTURES, Case, read_file

FOLDER = FIXTURES / "dialects"


def cases(adapter: str) -> list[Case]:
    """The statements of one dialect."""
    return read_file(FOLDER / f"{adapter}.sql")


def refused(adapter: str) -> list[Case]:
    """The statements of one dialect that are refused."""
    return read_file(FOLDER / "refused" / f"{adapter}.sql")


def tables() -> str:
    """The tables that they read, with rows, in SQL that Postgres and DuckDB both take."""
    return (FOLDER / "tables.sql").read_text() + (FOLDER / "rows.sql").read_text()


_TYPES = {
    "snowflake": {"smallint": "hugeint", "integer": "hugeint", "bigint": "hugeint"},
    "bigquery": {"smallint": "bigint", "integer": "bigint", "numeric(10, 2)": "numeric(38, 9)"},
}


def schema(adapter: str) -> Binder:
    """A binder that knows the tables, with the types that one dialect has."""
    ddl = (FOLDER / "tables.sql").read_text()
    for given, wanted in _TYPES.get(adapter, {}).items():
        ddl = ddl.replace(f" {given},", f" {wanted},")
    binder = Binder()
    binder.execute(ddl)
    return binder


def translated(case: Case, binder: Binder) -> str:
    """The statement in DuckDB, as the fixtures hold it."""
    adapter = case.path.stem
    return to_duckdb(case.sql, adapter, binder).sql("duckdb", pretty=True) + ";"
