"""Files of rows, read in batches: ndjson and csv as they are, parquet as NDJSON through DuckDB, every value exact."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import duckdb
import msgspec
from duckdb import (
    CaseExpression,
    CoalesceOperator,
    ColumnExpression,
    ConstantExpression,
    Expression,
    FunctionExpression,
)

from realtime.errors import BadRequestError
from realtime.ingest import csv
from realtime.ingest.reasons import unknown_column
from realtime.planner.ir import SourceSpec
from realtime.transpile.types import NESTED, Kind, duck_type

ROWS_A_REQUEST = 5_000
_BATCH_BYTES = 4 * 2**20
_DOCUMENTS = frozenset({Kind.JSON, *NESTED})
_WHOLE = frozenset(
    ("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint")
)


class Batch(msgspec.Struct, frozen=True):
    """Rows ``first`` to ``last`` of a file, counted from 1; in ndjson these are its lines."""

    first: int
    last: int
    body: bytes

    @property
    def rows(self) -> int:
        """How many."""
        return self.last - self.first + 1


class Rows(msgspec.Struct, frozen=True):
    """A file's rows: how many (blank lines of ndjson count), and a function that reads them."""

    total: int
    batches: Callable[[], Iterator[Batch]]
    content_type: str = "application/x-ndjson"


def rows_of(path: Path, source: SourceSpec) -> Rows:
    """The rows of ``path`` for ``source``. BadRequestError naming the file, and the line where that is known, for a
    file that is missing, of another kind, or whose columns are not the source's."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    reader = _READERS.get(suffixes[-1] if suffixes else "")
    if reader is None:
        raise BadRequestError(
            f"{path}: a file of this kind can't be read", remedy=f"give files of {', '.join(sorted(_READERS))}"
        )
    if not path.is_file():
        raise BadRequestError(f"{path}: there is no such file", remedy="check the path")
    try:
        return reader(path, source)
    except (duckdb.Error, OSError, EOFError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> BadRequestError:
    words = " ".join(str(error).split())
    return BadRequestError(f"{path}: {words[:300]}", remedy="mend the file and load it again: rows count once")


# -- ndjson


def _ndjson(path: Path, _: SourceSpec) -> Rows:
    with _opened(path) as file:
        if file.read(1) == b"[":
            raise BadRequestError(
                f"{path}: line 1 starts a JSON array, not a row", remedy="write one JSON object a line (jq -c '.[]')"
            )
    with _opened(path) as file:
        total = sum(1 for _line in file)
    return Rows(total, lambda: _lines(path))


def _opened(path: Path) -> IO[bytes]:
    opened: IO[bytes] = gzip.GzipFile(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[assignment]
    return opened


def _lines(path: Path) -> Iterator[Batch]:
    try:
        with _opened(path) as file:
            yield from _batched(file)
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from None


def _batched(lines: Iterable[bytes]) -> Iterator[Batch]:
    waiting: list[bytes] = []
    size = first = 0
    for number, line in enumerate(lines, 1):
        first = first or number
        waiting.append(line)
        size += len(line)
        if len(waiting) == ROWS_A_REQUEST or size >= _BATCH_BYTES:
            yield Batch(first, number, b"".join(waiting))
            waiting, size, first = [], 0, 0
    if waiting:
        yield Batch(first, first + len(waiting) - 1, b"".join(waiting))


# -- csv and parquet


def _csv(path: Path, source: SourceSpec) -> Rows:
    """Rows as they are, each batch below the header: the server reads them (see `csv`)."""
    separator, header = _header(path, source)
    try:
        names = csv.Table(header, separator, source).names
    except BadRequestError as error:
        raise BadRequestError(f"{path}: {error.message}", remedy=error.remedy) from None
    _declared(path, source, names)
    with _opened(path) as file:
        total = sum(1 for _ in csv.records(file)) - 1
    named = {"\t": "\\t"}.get(separator, separator)
    return Rows(total, lambda: _records(path, header), f'text/csv; delimiter="{named}"')


def _records(path: Path, header: bytes) -> Iterator[Batch]:
    try:
        with _opened(path) as file:
            rows = csv.records(file)
            next(rows)
            for batch in _batched(rows):
                yield Batch(batch.first, batch.last, header + batch.body)
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from None


def _header(path: Path, source: SourceSpec) -> tuple[str, bytes]:
    """The separator that makes the most declared columns of the first line, and that line."""
    with _opened(path) as file:
        line = next(csv.records(file), b"").removeprefix(b"\xef\xbb\xbf")
    text, declared = line.decode("utf-8", "replace").strip("\r\n"), {c.name for c in source.columns}
    found = {each: declared.intersection(name.strip('"') for name in text.split(each)) for each in csv.SEPARATORS}
    separator = max(found, key=lambda each: len(found[each]))
    return separator, line if line.endswith(b"\n") else line + b"\n"


def _parquet(path: Path, source: SourceSpec) -> Rows:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return typed_rows(path, connection.read_parquet(str(path)), source)


def typed_rows(path: Path, table: duckdb.DuckDBPyRelation, source: SourceSpec) -> Rows:
    """The rows of a DuckDB relation whose session is in UTC; ``path`` names it in BadRequestErrors."""
    _declared(path, source, table.columns)
    lines = _lines_of(table, source, str(path))
    return Rows(len(table), lambda: _fetched(path, lines))


def json_lines(table: duckdb.DuckDBPyRelation, source: SourceSpec, name: str, size: int) -> Iterator[bytes]:
    """The rows of a DuckDB relation, whose session is in UTC, as NDJSON in pieces of about ``size`` bytes, whatever
    its columns; ``name`` names it in BadRequestErrors."""
    waiting, length = [], 0
    for batch in _lines_of(table, source, name).to_arrow_reader(ROWS_A_REQUEST):
        for line in batch.column(0).to_pylist():
            waiting.append(line.encode())
            length += len(waiting[-1])
            if length >= size:
                yield b"".join(waiting)
                waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)


def _lines_of(table: duckdb.DuckDBPyRelation, source: SourceSpec, name: str) -> duckdb.DuckDBPyRelation:
    kinds = {c.name: duck_type(c.type).kind for c in source.columns}
    parts: list[Expression] = []
    for column, kind in zip(table.columns, table.types, strict=True):
        if kind.id == "blob":
            raise BadRequestError(f"{name}: column {column} is BLOB, which can't be loaded", remedy="write it as text")
        document = kind.id == "varchar" and kinds.get(column) in _DOCUMENTS
        value = _of_document(column) if document else _of_value(ColumnExpression(column), kind.id)
        key = msgspec.json.encode(column).decode()
        parts += [_text(f"{',' if parts else '{'}{key}:"), CoalesceOperator(value, _text("null"))]
    return table.select(FunctionExpression("concat", *parts, _text("}\n")).alias("line"))


def _declared(path: Path, source: SourceSpec, names: Sequence[str]) -> dict[str, Kind]:
    kinds = {c.name: duck_type(c.type).kind for c in source.columns}
    for name in names:
        if name not in kinds:
            raise BadRequestError(
                f"{path}: column {name} {unknown_column(name, kinds)}", remedy=f"declare it in source {source.name}"
            )
    return kinds


def _fetched(path: Path, lines: duckdb.DuckDBPyRelation) -> Iterator[Batch]:
    try:
        reader = lines.to_arrow_reader(ROWS_A_REQUEST)
        yield from _batched(line.encode() for batch in reader for line in batch.column(0).to_pylist())
    except duckdb.Error as error:
        raise _unreadable(path, error) from None


def _of_document(name: str) -> Expression:
    """The JSON that a text is, or else the text: the server says why it does not fit."""
    column = ColumnExpression(name)
    return CaseExpression(FunctionExpression("json_valid", column), column).otherwise(_json(column))


def _of_value(column: Expression, kind: str) -> Expression:
    """The JSON of a typed value. DuckDB's own is not used for what it would write inexactly or not as JSON."""
    if kind in _WHOLE or kind in ("decimal", "boolean"):
        return column.cast("VARCHAR")
    if kind in ("double", "float"):
        finite = FunctionExpression("isfinite", column)
        return CaseExpression(finite, _json(column)).otherwise(_json(column.cast("VARCHAR")))
    if kind == "timestamp with time zone":
        utc = column.cast("TIMESTAMP").cast("VARCHAR")
        return _zoned(column, utc)
    nested = kind in ("list", "array", "struct", "map", "json")
    return _json(column if nested else column.cast("VARCHAR"))


def _zoned(column: Expression, utc: Expression) -> Expression:
    quoted = FunctionExpression("concat", _text('"'), utc, _text('Z"'))
    return CaseExpression(column.isnotnull(), quoted).otherwise(ConstantExpression(None))


def _json(value: Expression) -> Expression:
    return FunctionExpression("to_json", value).cast("VARCHAR")


def _text(value: str) -> Expression:
    return ConstantExpression(value)


_READERS: dict[str, Callable[[Path, SourceSpec], Rows]] = {
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".json": _ndjson,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
