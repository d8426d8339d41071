"""The rows of a unit test as DuckDB tables: what dbt gave the model, with the types of its inputs, and what it expects.

dbt compiles a unit test to the model's SQL below one CTE per input, ``__dbt__cte__<input>``, that selects the given
rows; variables, macros and whatever else the test overrides are resolved there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
from sqlglot import Dialect as SqlDialect
from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from realtime.dialects.translate import DIALECTS, to_duckdb
from realtime.errors import BadRequestError
from realtime.ingest.parquet import duckdb_type, struct
from realtime.planner.ir import Column
from realtime.project.binder import Binder, table
from realtime.transpile.transpile import parse
from realtime.transpile.types import duck_type

PREFIX = "__dbt__cte__"
EXPECTED = "expected"


def load_compiled(
    connection: duckdb.DuckDBPyConnection, compiled: str, adapter: str, types: Mapping[str, Mapping[str, str]]
) -> tuple[exp.Query, dict[str, dict[str, str]]]:
    """Makes a table of each input's given rows, as `load_given` does: ``types`` are by the name of the CTE. The model's
    query over these tables, in DuckDB's dialect, and the names and types of their columns.

    ``compiled`` is in the dialect of dbt's ``adapter``. RefusedError where it has no equal in DuckDB, BadRequestError
    where the rows don't fit.
    """
    fixtures, query = split_fixtures(compiled, adapter)
    given = {
        name: load_given(connection, name, in_duckdb(sql, adapter), types.get(name, {}))
        for name, sql in fixtures.items()
    }
    if adapter == "duckdb":
        return query, given
    binder = Binder()
    for name, columns in given.items():
        binder.add_table(table(name), columns.items())
    return to_duckdb(query.sql(DIALECTS[adapter].sqlglot), adapter, binder), given


def in_duckdb(sql: str, adapter: str) -> str:
    """A query over no tables, as a fixture is, in DuckDB's dialect; RefusedError where it has no equal there."""
    return sql if adapter == "duckdb" else to_duckdb(sql, adapter, Binder()).sql("duckdb")


def split_fixtures(compiled: str, adapter: str) -> tuple[dict[str, str], exp.Query]:
    """The SQL of the given rows by the name of their CTE, as dbt wrote it, and the model's own query, which still
    reads these names. RefusedError where the SQL can't be parsed."""
    dialect = "duckdb" if adapter == "duckdb" else DIALECTS[adapter].sqlglot
    query = parse(compiled, dialect)
    own = [cte for cte in query.ctes if not cte.alias.startswith(PREFIX)]
    if own:
        query.args["with_"].set("expressions", own)
    else:
        query.set("with_", None)
    return dict(_fixtures(compiled, SqlDialect.get_or_raise(dialect).tokenize(compiled))), query


def _fixtures(compiled: str, tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    for at, token in enumerate(tokens[:-2]):
        opens = tokens[at + 2]
        is_named = token.text.startswith(PREFIX) and tokens[at + 1].token_type == TokenType.ALIAS
        if is_named and opens.token_type == TokenType.L_PAREN:
            yield token.text, compiled[opens.end + 1 : _closing(tokens, at + 2).start]


def _closing(tokens: Sequence[Token], opened: int) -> Token:
    depth = 0
    for token in tokens[opened:]:
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if not depth:
            return token
    return tokens[-1]


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own, in UTC."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def load_given(connection: duckdb.DuckDBPyConnection, name: str, sql: str, types: Mapping[str, str]) -> dict[str, str]:
    """Makes the table ``name`` of the rows that ``sql`` selects; each column is of the type that ``types`` says,
    or as selected. Names and types of the columns; BadRequestError where DuckDB does not take the rows."""
    with _explained(f"the given rows of {name.removeprefix(PREFIX)}"):
        authored = table(f"authored {name}")
        connection.execute(f"CREATE VIEW {authored.sql('duckdb')} AS {sql}")
        values = [
            _typed(exp.column(c, quoted=True), c, types.get(c)) for c in connection.table(_name(authored)).columns
        ]
        _create(connection, name, exp.select(*values).from_(authored))
        made = connection.table(_name(table(name)))
        return {column: str(kind) for column, kind in zip(made.columns, made.types, strict=True)}


def load_expected(
    connection: duckdb.DuckDBPyConnection, expected: str | Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> tuple[Column, ...]:
    """Makes the table `EXPECTED`; the columns of it, which are those that the test compares. ``columns`` are the
    model's. As in dbt, the first row says which are compared. BadRequestError where a row does not fit the model."""
    with _explained("the expected rows"):
        if isinstance(expected, str):
            authored = table(f"authored {EXPECTED}")
            connection.execute(f"CREATE VIEW {authored.sql('duckdb')} AS {expected}")
            values = [_typed(exp.column(c.name, quoted=True), c.name, c.type) for c in columns]
            _create(connection, EXPECTED, exp.select(*values).from_(authored))
            return tuple(columns)
        tested = _tested(expected, columns)
        nothing = [_typed(exp.Null(), c.name, c.type) for c in tested]
        _create(connection, EXPECTED, exp.select(*nothing).where(exp.false()))
        for row in expected:
            given = {name.lower(): value for name, value in row.items()}
            values = [_typed(_literal(given.get(c.name.lower())), c.name, c.type) for c in tested]
            insert = exp.Insert(this=table(EXPECTED), expression=exp.select(*values))
            connection.execute(insert.sql("duckdb"))
        return tested


def _tested(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> tuple[Column, ...]:
    if not rows:
        return tuple(columns)
    known = {c.name.lower(): c for c in columns}
    unknown = [name for name in rows[0] if name.lower() not in known]
    if unknown:
        raise BadRequestError(
            f"the expected rows name {', '.join(unknown)}, which the model does not have",
            remedy=f"its columns are {', '.join(c.name for c in columns)}",
        )
    return tuple(known[name.lower()] for name in rows[0])


def _typed(value: exp.Expr, name: str, kind: str | None) -> exp.Expr:
    typed = exp.cast(value, duckdb_type(duck_type(kind))) if kind is not None else value
    return exp.alias_(typed, name, quoted=True)


def _literal(value: Any) -> exp.Expr:
    """A value of the YAML as dbt writes it into SQL."""
    if isinstance(value, Mapping):
        return struct({str(name): _literal(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return exp.Array(expressions=[_literal(inner) for inner in value])
    return exp.convert(value)


def _create(connection: duckdb.DuckDBPyConnection, name: str, query: exp.Select) -> None:
    connection.execute(exp.Create(this=table(name), kind="TABLE", expression=query).sql("duckdb"))


def _name(relation: exp.Table) -> str:
    return relation.sql("duckdb")


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns DuckDB's errors into those that a person reads."""
    try:
        yield
    except duckdb.Error as error:
        words = str(error).splitlines()[0]
        raise BadRequestError(f"{what} do not fit: {words}", remedy="mend the unit test") from None
