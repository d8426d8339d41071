"""The lake as the batch engine sees it: a view per source, at the relation that the project's models read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import sqlglot
from sqlglot import exp

from realtime.emit.landing import INGESTED_AT
from realtime.errors import BusyError, ConfigError
from realtime.ingest.lake_files import LakeFile, column_names, lake_files, watermark
from realtime.ingest.parquet import duckdb_type, from_parquet, struct
from realtime.planner.ir import Column, Plan, SourceSpec
from realtime.project.profile import duckdb_path
from realtime.settings import Settings
from realtime.transpile.types import DuckType, Kind, duck_type

_MARK = "made by Duet from the lake up to "
"""Begins the comment of every view made here: by it Duet knows its own, and parity what batch has seen."""

_ABSENT = {Kind.TEXT: "", Kind.BLOB: "", Kind.BOOLEAN: "false", Kind.DATE: "1900-01-01", Kind.TIME: "00:00:00"}
_ABSENT |= {Kind.TIMESTAMP: "1970-01-01", Kind.TIMESTAMPTZ: "1970-01-01 00:00:00+00"}
_ABSENT |= {Kind.UUID: "00000000-0000-0000-0000-000000000000"}
_ABSENT |= dict.fromkeys((Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL), "0")
"""What ClickHouse reads in a column that is not nullable, in rows older than the column (Date32's is 1900-01-01)."""


def create_lake_views(settings: Settings, plan: Plan) -> None:
    """Makes, in the batch DuckDB file, each source of ``plan`` a view over the lake's files as they are now.

    A view names its files: every model of a run reads the same rows, whatever is exported meanwhile; run it again
    to take in newer files. It has the declared columns with their declared types (without files: no rows); of an
    upsert source it shows the newest version per key. BusyError while another process has the database open,
    ConfigError where a relation is in another database or is taken by something that Duet did not make.
    """
    path = duckdb_path(settings.project_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_batch(path) as connection:
        connection.begin()
        for spec in plan.sources:
            _create_view(connection, path, spec, lake_files(settings, spec.name))
        connection.commit()


@contextlib.contextmanager
def open_batch(path: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """The batch database ``path``; BusyError while another process has it open."""
    try:
        connection = duckdb.connect(str(path), read_only=read_only)
    except duckdb.Error as error:
        cause = str(error).splitlines()[0]
        if "could not set lock" not in cause.lower():
            raise ConfigError(
                f"the batch database {path} can't be opened: {cause}",
                remedy="check the `path` of the profile's DuckDB target",
            ) from None
        raise BusyError(
            f"the batch database {path} is open in another program: {cause}",
            remedy="close that program (a DuckDB shell, a notebook, a dbt run) and run this again",
        ) from None
    with connection:
        yield connection


def batch_watermark(connection: duckdb.DuckDBPyConnection, spec: SourceSpec) -> datetime | None:
    """Up to which ``_ingested_at`` the batch database reads the lake of ``spec``; None where there is no such view."""
    relation = sqlglot.to_table(spec.batch, dialect="duckdb")
    comment = relation_comment(connection, relation)
    return datetime.fromisoformat(comment.removeprefix(_MARK)) if comment and comment.startswith(_MARK) else None


def lake_query(spec: SourceSpec, files: Sequence[LakeFile]) -> exp.Select:
    """The DuckDB query that reads ``spec`` from ``files``: what the view is made of."""
    if not files:
        empty = [
            exp.alias_(exp.cast(exp.Null(), duckdb_type(duck_type(c.type))), c.name, quoted=True) for c in spec.columns
        ]
        return exp.select(*empty).where(exp.false())
    rows = exp.select(*_values(spec, files)).from_(_read(files))
    return _newest(spec, rows) if spec.mode == "upsert" else rows


def _create_view(
    connection: duckdb.DuckDBPyConnection, path: Path, spec: SourceSpec, files: Sequence[LakeFile]
) -> None:
    relation = sqlglot.to_table(spec.batch, dialect="duckdb")
    if relation.catalog and relation.catalog.lower() != path.stem.lower():
        raise ConfigError(
            f"source {spec.name} is in database {relation.catalog!r}, the batch database is {path.stem!r}",
            remedy="drop `database:` from the source, so that Duet can show it the lake",
        )
    _check_own(connection, relation, spec)
    schema = exp.Table(this=relation.args["db"].copy(), db=relation.args["catalog"].copy())
    connection.execute(exp.Create(this=schema, kind="SCHEMA", exists=True).sql("duckdb"))
    view = exp.Create(this=relation.copy(), kind="VIEW", replace=True, expression=lake_query(spec, files))
    connection.execute(view.sql("duckdb"))
    mark = exp.Literal.string(_MARK + watermark(files).astimezone(UTC).isoformat(timespec="microseconds"))
    connection.execute(exp.Comment(this=relation.copy(), kind="VIEW", expression=mark).sql("duckdb"))


def _check_own(connection: duckdb.DuckDBPyConnection, relation: exp.Table, spec: SourceSpec) -> None:
    """ConfigError where ``relation`` exists and is not a view that was made here."""
    comment = relation_comment(connection, relation)
    if comment is not None and not comment.startswith(_MARK):
        raise ConfigError(
            f"source {spec.name}: {relation.sql('duckdb')} exists in the batch database and was not made by Duet",
            remedy="rename or drop it, or load its rows with `duet ingest`: in real time the lake is its content",
        )


def relation_comment(connection: duckdb.DuckDBPyConnection, relation: exp.Table) -> str | None:
    """The comment of a table or view, empty where it has none; None where there is no such relation."""
    row = connection.execute(
        "SELECT coalesce(comment, '') FROM ("
        "SELECT database_name, schema_name, table_name, NULL AS comment FROM duckdb_tables() UNION ALL "
        "SELECT database_name, schema_name, view_name, comment FROM duckdb_views()) "
        "WHERE lower(database_name) = lower(coalesce($1, current_database())) "
        "AND lower(schema_name) = lower($2) AND lower(table_name) = lower($3)",
        [relation.catalog or None, relation.db or "main", relation.name],
    ).fetchone()
    return None if row is None else str(row[0])


def _values(spec: SourceSpec, files: Sequence[LakeFile]) -> list[exp.Expr]:
    """The declared columns in their declared types; one that is in no file yet has its value of old rows."""
    names = column_names([f.path for f in files])
    return [
        exp.alias_(_value(spec, c, sum(c.name in found for found in names), len(files)), c.name, quoted=True)
        for c in spec.columns
    ]


def _value(spec: SourceSpec, column: Column, present: int, files: int) -> exp.Expr:
    kind = duck_type(column.type)
    stored = from_parquet(exp.column(column.name, table="lake", quoted=True), kind)
    if present == files:
        return stored
    nullable = column.name not in {*spec.not_null, *spec.key, spec.version}
    before = exp.cast(_absent(kind, nullable=nullable), duckdb_type(kind))
    return exp.func("coalesce", stored, before, dialect="duckdb") if present else before


def _absent(kind: DuckType, *, nullable: bool) -> exp.Expr:
    """What ClickHouse reads in rows that are older than a column; lists, maps and structs are never NULL there."""
    if kind.kind is Kind.LIST:
        return exp.Array(expressions=[])
    if kind.kind is Kind.ARRAY:
        return exp.Array(expressions=[exp.Literal.number(0)] * kind.size)
    if kind.kind is Kind.MAP:
        return exp.Anonymous(this="map", expressions=[])
    if kind.kind is Kind.STRUCT:
        return struct({name: _absent(inner, nullable=True) for name, inner in kind.fields})
    return exp.Null() if nullable or kind.kind not in _ABSENT else exp.Literal.string(_ABSENT[kind.kind])


def _read(files: Sequence[LakeFile]) -> exp.Table:
    options = {"union_by_name": exp.true(), "file_row_number": exp.true(), "filename": exp.true()}
    paths = exp.Array(expressions=[exp.Literal.string(str(f.path)) for f in files])
    named = [exp.EQ(this=exp.column(name), expression=value) for name, value in options.items()]
    return exp.Table(
        this=exp.Anonymous(this="read_parquet", expressions=[paths, *named]),
        alias=exp.TableAlias(this=exp.to_identifier("lake")),
    )


def _newest(spec: SourceSpec, rows: exp.Select) -> exp.Select:
    """The newest version per key, as ReplacingMergeTree reads with FINAL: of equal versions the last inserted,
    then without those that are deleted."""
    order = [exp.column(spec.version, table="rows", quoted=True)]
    order += [exp.column(name, table="rows") for name in (INGESTED_AT, "filename", "file_row_number")]
    rank = exp.Window(
        this=exp.RowNumber(),
        partition_by=[exp.column(key, table="rows", quoted=True) for key in spec.key],
        order=exp.Order(expressions=[exp.Ordered(this=column, desc=True, nulls_first=False) for column in order]),
    )
    newest: exp.Expr = exp.EQ(this=rank, expression=exp.Literal.number(1))
    if spec.deleted:
        deleted = exp.func(
            "coalesce", exp.column(spec.deleted, table="rows", quoted=True), exp.false(), dialect="duckdb"
        )
        newest = exp.and_(newest, exp.not_(deleted))
    ordered = rows.select(*(exp.column(name, table="lake") for name in (INGESTED_AT, "filename", "file_row_number")))
    declared = [exp.column(c.name, table="rows", quoted=True) for c in spec.columns]
    return exp.select(*declared).from_(ordered.subquery("rows")).qualify(newest)
