"""Statements emitted for Snowflake, run in fakesnow: it takes their syntax, and computes with a DuckDB of its own.

That is no proof of what Snowflake computes; its documentation stands for that, in docs/warehouses.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from jinja2 import Template

from realtime.emit.warehouses.project import emit
from realtime.emit.warehouses.snowflake import SNOWFLAKE
from realtime.emit.warehouses.translate import translate
from realtime.project.binder import Binder
from realtime.project.manifest import read_manifest
from realtime.transpile.types import DuckType, Kind, duck_type
from tests import fakesnow
from tests.emit.warehouses import servers
from tests.transpile import engines
from tests.transpile.cases import FIXTURES, Case, read_file

CASES = read_file(FIXTURES / "warehouses" / "snowflake.sql")
Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    """The tables in DuckDB; without the integers that fakesnow, whose numbers are of 64 bits, has no room for."""
    found = engines.duckdb_tables("rows")
    found.execute("UPDATE edge SET h = id WHERE id IN (1, 2)")
    return found


@pytest.fixture(scope="module")
def answers(connection: duckdb.DuckDBPyConnection, binder: Binder) -> Answers:
    """fakesnow's answer to every statement, by its DuckDB text."""
    setup = [s for table in servers.TABLES for s in _table(connection, table)]
    texts = [servers.text_of(translate(c.sql, binder, SNOWFLAKE).tree, SNOWFLAKE) for c in CASES]
    found = fakesnow.answers(setup, texts)
    return {case.sql: answer for case, answer in zip(CASES, found, strict=True)}


def _table(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Statements that make ``table`` in Snowflake."""
    columns = [(n, duck_type(t)) for n, t, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]
    name = table.replace(".", '"."')
    # FLOAT is of 32 bits in DuckDB: it is refused, but the tables of the fixtures have columns of it.
    definitions = ", ".join(f'"{n}" {"FLOAT" if k.name == "FLOAT" else SNOWFLAKE.type(k)}' for n, k in columns)
    fields = ", ".join(f"{n}::VARCHAR" for n, _ in columns)
    rows = connection.execute(f"SELECT {fields} FROM {table}").fetchall()
    values = ", ".join("(" + ", ".join(_literal(v) for v in row) + ")" for row in rows)
    return [f'CREATE TABLE "{name}" ({definitions})', f'INSERT INTO "{name}" VALUES {values}']


def _literal(value: str | None) -> str:
    if value is None:
        return "NULL"
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answer(case: Case, binder: Binder, connection: duckdb.DuckDBPyConnection, answers: Answers) -> None:
    answer = answers[case.sql]
    if case.fails:
        with pytest.raises(duckdb.Error):
            connection.execute(case.sql).fetchall()
        assert "error" in answer
        return
    assert "error" not in answer, answer.get("error")
    columns = binder.describe(case.sql)
    wanted = _rows(connection.execute(case.sql).fetchall(), columns)
    servers.check(case.sql, wanted, _rows(answer["rows"], columns))


def _rows(rows: list[Any], columns: tuple[tuple[str, DuckType], ...]) -> list[engines.Row]:
    return [tuple(engines.canonical(_plain(v, k), k) for v, (_, k) in zip(r, columns, strict=True)) for r in rows]


def _plain(value: Any, kind: DuckType) -> Any:
    """A moment as text without its zone."""
    return value.removesuffix("+00:00") if isinstance(value, str) and kind.kind is Kind.TIMESTAMP else value


def test_the_example_runs(authored: Path) -> None:
    project = read_manifest(authored / "target" / "manifest.json")
    emitted = emit(project, SNOWFLAKE)
    assert (emitted.refusals, emitted.left_out) == ((), ())
    with duckdb.connect(str(authored / "warehouse.duckdb")) as connection:
        setup = ["CREATE SCHEMA chat", "CREATE SCHEMA shop"]
        for source in ("chat.messages", "shop.purchases"):
            create, insert = _table(connection, source)
            quoted = '"' + source.replace(".", '"."') + '"'
            setup += [s.replace(quoted, source.upper()) for s in (create, insert)]
        for name in emitted.models:
            setup.append(f"CREATE TABLE {name.upper()} AS {_rendered(emitted.files[f'models/{name}.sql'])}")
        found = fakesnow.answers(setup, [f"SELECT * FROM {name.upper()}" for name in emitted.models])
        for model, answer in zip((m for m in project.ordered()), found, strict=True):
            connection.execute(f"CREATE OR REPLACE VIEW {model.relation.sql('duckdb')} AS {model.sql}")
            answered = connection.sql(model.sql)
            columns = tuple((n, duck_type(str(t))) for n, t in zip(answered.columns, answered.types, strict=True))
            servers.check(model.sql, _rows(answered.fetchall(), columns), _rows(answer["rows"], columns))


def _rendered(text: str) -> str:
    """``ref()`` and ``source()`` as dbt-snowflake writes them: unquoted, which Snowflake reads in upper case."""
    return Template(text).render(ref=str.upper, source=lambda group, name: f"{group}.{name}".upper())
