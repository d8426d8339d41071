"""A relation of any warehouse that dbt has an adapter for, read through that adapter in a process of its own: dbt keeps
state in its process, and prints as it likes.

Run as ``python -m realtime.publish.warehouse --project-dir DIR --profiles-dir DIR`` with a `Wanted` as JSON on standard
input; it writes an Arrow stream to standard output. Exit status 3: the warehouse has no such relation.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import sqlglot

from realtime.errors import CommandError, NotBuiltError
from realtime.planner.ir import Step
from realtime.project.dbt import dbt_environment
from realtime.project.profile import profiles_dir
from realtime.settings import Settings
from realtime.transpile.types import LISTS, DuckType, Kind, duck_type

_ROWS = 10_000
_MISSING = 3
_REASON = "not built: "
_TEXT = frozenset({Kind.TEXT, Kind.UUID, Kind.JSON, Kind.ENUM, Kind.TIME})
_ARROW = {
    "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(), "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(), "UINTEGER": pa.uint32(), "UBIGINT": pa.uint64(),
    "FLOAT": pa.float32(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_(), "DATE": pa.date32(), "BLOB": pa.binary(),
    "TIMESTAMP_NS": pa.timestamp("ns"), "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
}  # fmt: skip


class Wanted(msgspec.Struct, frozen=True):
    """A relation, and the names and DuckDB types of the columns that it should have."""

    model: str
    database: str
    schema: str
    name: str
    columns: list[tuple[str, str]]


@contextlib.contextmanager
def warehouse_rows(settings: Settings, step: Step) -> Iterator[tuple[int, pa.RecordBatchReader]]:
    """How many rows the relation of ``step`` has, and the rows; columns have the model's names.

    NotBuiltError where the warehouse has no such relation, or one of other columns; CommandError where dbt fails.
    """
    relation = sqlglot.to_table(step.batch, dialect="duckdb")
    wanted = Wanted(step.model, relation.catalog, relation.db, relation.name, [(c.name, c.type) for c in step.columns])
    root = settings.project_dir
    command = [sys.executable, "-m", "realtime.publish.warehouse"]
    command += ["--project-dir", str(root), "--profiles-dir", str(profiles_dir(root))]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=root, env=dbt_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
        )
        assert process.stdin is not None
        try:
            with process.stdin as asked:
                asked.write(msgspec.json.encode(wanted))
            try:
                reader = pa.ipc.open_stream(process.stdout)
            except (pa.ArrowInvalid, OSError):
                said.seek(0)
                raise _failed(step, process.wait(), said.read().decode(errors="replace")) from None
            yield int(reader.schema.metadata[b"rows"]), reader
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _failed(step: Step, status: int, said: str) -> CommandError | NotBuiltError:
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    if status == _MISSING:
        reason = next(line for line in lines if line.startswith(_REASON)).removeprefix(_REASON)
        return NotBuiltError(f"model {step.model} is not built in batch: {reason}", remedy="build it first: duet batch")
    return CommandError(f"model {step.model} can't be read from batch: {lines[-1]}", remedy="see what dbt debug says")


def main() -> None:
    """Writes the relation's rows; ends the process."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what dbt prints is not part of the stream
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Wanted)
    adapter = _adapter(sys.argv[1:])
    with adapter.connection_named("duet"):
        relation = adapter.get_relation(wanted.database, wanted.schema, wanted.name)
        if relation is None:
            _end(f"there is no {wanted.schema}.{wanted.name}")
        names = {c.name.lower(): c.name for c in adapter.get_columns_in_relation(relation)}
        asked = [name.lower() for name, _ in wanted.columns]
        if sorted(names) != sorted(asked):
            _end(f"it has the columns {', '.join(names)}, and should have {', '.join(asked)}")
        kinds = [duck_type(kind) for _, kind in wanted.columns]
        values = [_value(adapter, names[name], kind) for name, kind in zip(asked, kinds, strict=True)]
        (rows,) = _cursor(adapter, f"select count(*) from {relation.render()}").fetchall()[0]
        fields = [pa.field(name, _arrow(kind)) for (name, _), kind in zip(wanted.columns, kinds, strict=True)]
        schema = pa.schema(fields, metadata={"rows": str(rows)})
        _write(out, schema, _cursor(adapter, f"select {', '.join(values)} from {relation.render()}", whole=False))
    out.flush()
    os._exit(0)


def _adapter(options: list[str]) -> Any:
    """The adapter of the project's default target, as dbt sets it up."""
    from dbt.adapters.factory import FACTORY
    from dbt.cli.main import dbtRunner

    parsed = dbtRunner().invoke(["--quiet", "parse", "--no-write-json", *options])
    if not parsed.success:
        sys.exit(str(parsed.exception or "dbt can't parse the project"))
    return next(iter(FACTORY.adapters.values()))


def _end(reason: str) -> None:
    print(_REASON + reason, file=sys.stderr, flush=True)
    os._exit(_MISSING)


def _value(adapter: Any, name: str, kind: DuckType) -> str:
    """The column as it is read: as text where drivers give other things than the warehouse holds."""
    quoted: str = adapter.quote(name)
    text = kind.kind in _TEXT - {Kind.TEXT} or kind.name in ("HUGEINT", "UHUGEINT")
    return f"cast({quoted} as {adapter.Column.translate_type('string')})" if text else quoted


def _cursor(adapter: Any, sql: str, *, whole: bool = True) -> Any:
    """A cursor on the rows of ``sql``; unless they are wanted as a ``whole``, one that holds few of them at a time.
    psycopg2 fetches all at once, but for named cursors."""
    if not whole and adapter.type() in ("postgres", "redshift"):
        cursor = adapter.connections.get_thread_connection().handle.cursor(name="duet")
        cursor.execute(sql)
        return cursor
    _, cursor = adapter.connections.add_query(sql, auto_begin=False)
    return cursor


def _write(out: Any, schema: pa.Schema, cursor: Any) -> None:
    with pa.ipc.new_stream(out, schema) as writer:
        while rows := cursor.fetchmany(_ROWS):
            columns = zip(*rows, strict=True)
            arrays = [pa.array(map(_plain, c), f.type, size=len(rows)) for c, f in zip(columns, schema, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _arrow(kind: DuckType) -> pa.DataType:
    """The Arrow type of the values that a driver gives for ``kind``."""
    if kind.kind in LISTS:
        return pa.list_(_arrow(kind.item))
    if kind.kind is Kind.DECIMAL:
        return pa.decimal128(kind.precision, kind.scale)
    if kind.kind in _TEXT or kind.name in ("HUGEINT", "UHUGEINT"):
        return pa.string()
    return _ARROW.get(kind.name, pa.timestamp("us"))


if __name__ == "__main__":
    main()
