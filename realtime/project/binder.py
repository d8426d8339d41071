"""Types and constants from DuckDB itself: an in-memory database that holds no rows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import duckdb
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.schema import MappingSchema

from realtime.errors import RefusedError
from realtime.transpile.types import DuckType, duck_type

CATALOG, SCHEMA = "memory", "main"
DUCKDB = DuckDB()
"""By its name sqlglot makes one for every call."""


class Binder:
    """An empty table per source and a view per model, asked for the types of anything over them."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._attached = {CATALOG}
        self.schema = MappingSchema(dialect=DUCKDB)
        self.columns: dict[tuple[str, str, str], dict[str, str]] = {}
        self.relations: dict[tuple[str, str, str], exp.Table] = {}
        """Every relation as it is spelled where it was declared, by its name in lower case."""
        self.views: dict[tuple[str, str, str], str] = {}
        """What views are made of, by their names in lower case."""
        self.typed_views: dict[tuple[str, str, str], exp.Query] = {}
        """Those of them that something asked for, resolved and typed."""
        self.known: dict[Hashable, tuple[DuckType, ...] | None] = {}
        """Answers that hold wherever the same is asked (`realtime.transpile.scopes`); None: it has no type."""
        self._numbers: dict[Hashable, int] = {}

    def number(self, value: Hashable) -> int:
        """A number that stands for ``value``: trees of them compare fast."""
        return self._numbers.setdefault(value, len(self._numbers))

    def add_table(self, relation: exp.Table, columns: Iterable[tuple[str, str]]) -> None:
        """An empty table; ``columns`` are names and DuckDB types. RefusedError on an unknown type."""
        definitions = exp.Schema(this=self._placed(relation))
        definitions.set("expressions", [_definition(name, kind) for name, kind in columns])
        self._run(exp.Create(this=definitions, kind="TABLE").sql("duckdb"))
        self._register(relation)

    def add_view(self, relation: exp.Table, sql: str, columns: Sequence[tuple[str, str]] = ()) -> None:
        """A view of ``sql``; RefusedError with DuckDB's words where it does not bind.

        Where its ``columns`` are known it is an empty table: a view of views is bound down to the sources again
        whenever it is read.
        """
        placed = self._placed(relation)
        if not columns or any(kind in ("NULL", '"NULL"') for _, kind in columns):  # no table has a column of NULLs
            self._run(f"CREATE VIEW {placed.sql('duckdb')} AS {sql}")
            self._register(relation)
        else:
            # The types are DuckDB's own words, which sqlglot might spell otherwise.
            named = [exp.ColumnDef(this=exp.to_identifier(n, quoted=True), kind=exp.Var(this=k)) for n, k in columns]
            definitions = exp.Schema(this=placed.copy(), expressions=named)
            self._run(exp.Create(this=definitions, kind="TABLE").sql(DUCKDB, copy=False))
            self._note(placed, dict(columns))
        self.views[placed.catalog.lower(), placed.db.lower(), placed.name.lower()] = sql

    def execute(self, ddl: str) -> None:
        """Runs DuckDB DDL, as `duet transpile --schema` gives it."""
        self._run(ddl)
        rows = self._connection.execute(
            "SELECT database_name, schema_name, table_name FROM duckdb_tables() UNION ALL "
            "SELECT database_name, schema_name, view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        for catalog, schema, name in rows:
            if (catalog, schema, name) not in self.columns:
                self._register(table(name, schema, catalog))

    def describe(self, sql: str) -> tuple[tuple[str, DuckType], ...]:
        """Names and types of the columns of a query; RefusedError where it does not bind."""
        try:
            relation = self._connection.sql(sql)
            if relation is None:
                raise RefusedError("this is no query", remedy="write one SELECT")
            return tuple((n, duck_type(str(t))) for n, t in zip(relation.columns, relation.types, strict=True))
        except duckdb.Error as error:
            raise RefusedError(
                f"DuckDB does not take this SQL: {str(error).splitlines()[0]}",
                remedy=f"{_meant(str(error))}make it run in DuckDB first",
                line=self._line(sql),
            ) from None

    def _line(self, sql: str) -> int:
        """The line of ``sql``, which does not bind, that DuckDB names; it does so only for statements it executes."""
        try:
            self._connection.execute(f"DESCRIBE {sql}")
        except duckdb.Error as error:
            place = re.search(r"^LINE (\d+):", str(error), re.MULTILINE)
            return int(place[1]) if place else 0
        return 0

    def constant(self, expression: exp.Expr) -> Any:
        """The value of a constant expression as DuckDB computes it; None is NULL."""
        row = self._run(exp.select(expression.copy()).sql("duckdb")).fetchone()
        assert row is not None
        return row[0]

    def _placed(self, relation: exp.Table) -> exp.Table:
        catalog = relation.catalog or CATALOG
        if catalog not in self._attached:
            self._run(f"ATTACH ':memory:' AS {exp.to_identifier(catalog, quoted=True).sql('duckdb')}")
            self._attached.add(catalog)
        placed = table(relation.name, relation.db or SCHEMA, catalog)
        if placed.db != SCHEMA:
            namespace = exp.Table(this=placed.args["db"].copy(), db=placed.args["catalog"].copy())
            self._run(f"CREATE SCHEMA IF NOT EXISTS {namespace.sql('duckdb')}")
        return placed

    def _register(self, relation: exp.Table) -> None:
        placed = self._placed(relation)
        self._note(placed, {n: t.name for n, t in self.describe(exp.select("*").from_(placed.copy()).sql("duckdb"))})

    def _note(self, placed: exp.Table, columns: dict[str, str]) -> None:
        key = (placed.catalog.lower(), placed.db.lower(), placed.name.lower())
        self.columns[key], self.relations[key] = columns, placed
        # Only names matter to sqlglot here; the types come from the binder.
        self.schema.add_table(placed, dict.fromkeys(columns, "UNKNOWN"), dialect=DUCKDB)

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(sql)
        except duckdb.Error as error:
            raise RefusedError(f"DuckDB does not take this SQL: {str(error).splitlines()[0]}") from None


def _meant(error: str) -> str:
    """What DuckDB proposes in place of a name that it does not know, where it is like that name.

    >>> _meant('Referenced column "sendr_id" not found!\\nCandidate bindings: "sender_id", "sent_at"')
    'did you mean sender_id? '
    """
    wrong = re.search(r'(?:column(?: named)?|name) "?(\w+)', error)
    proposed = re.search(r"^(?:Candidate bindings|Did you mean)(.*)", error, re.MULTILINE)
    if wrong is None or proposed is None:
        return ""
    found = difflib.get_close_matches(wrong[1], re.findall(r'(\w+)"', proposed[1]), n=1, cutoff=0.7)
    return f"did you mean {found[0]}? " if found else ""


def table(name: str, schema: str = SCHEMA, catalog: str = CATALOG) -> exp.Table:
    """A relation with all three parts of its name, quoted."""
    return exp.table_(name, db=schema, catalog=catalog, quoted=True)


def _definition(name: str, kind: str) -> exp.ColumnDef:
    return exp.ColumnDef(
        this=exp.to_identifier(name, quoted=True), kind=exp.DataType.build(kind, dialect="duckdb", udt=True)
    )
