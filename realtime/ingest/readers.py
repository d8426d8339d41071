"""Files of rows, read in batches of NDJSON: ndjson as it is, csv and parquet through DuckDB, every value exact."""

from __future__ import annotations

import csv
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
from realtime.ingest.reasons import unknown_column
from realtime.planner.ir import SourceSpec
from realtime.transpile.types import Kind, duck_type

ROWS_A_REQUEST = 5_000
_BATCH_BYTES = 4 * 2**20
_SEPARATORS = ",;\t|"
_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_NUMBERS = frozenset({Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL})
_DOCUMENTS = frozenset({Kind.JSON, Kind.LIST, Kind.STRUCT, Kind.MAP})
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
    """Every field is read as text and written as what its column needs. An empty field is NULL, a quoted one is not.
    Nothing is guessed but the separator: DuckDB's guesses take a stray quote for text."""
    separator, names = _header(path, source)
    kinds = _declared(path, source, names)
    table = duckdb.connect().read_csv(
        str(path),
        header=True,
        auto_detect=False,
        sep=separator,
        quotechar='"',
        escapechar='"',
        columns=dict.fromkeys(names, "VARCHAR"),
        allow_quoted_nulls=False,
    )
    return _through_duckdb(path, table, [_of_text(name, kinds[name]) for name in names])


def _header(path: Path, source: SourceSpec) -> tuple[str, list[str]]:
    """The separator that makes the most declared columns of the first line, and those columns."""
    with _opened(path) as file:
        line = file.readline().decode("utf-8-sig", "replace")
    declared = {c.name for c in source.columns}
    found = [(separator, next(csv.reader([line], delimiter=separator), [])) for separator in _SEPARATORS]
    return max(found, key=lambda each: len(declared.intersection(each[1])))


def _parquet(path: Path, source: SourceSpec) -> Rows:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return typed_rows(path, connection.read_parquet(str(path)), source)


def typed_rows(path: Path, table: duckdb.DuckDBPyRelation, source: SourceSpec) -> Rows:
    """The rows of a DuckDB relation whose session is in UTC; ``path`` names it in BadRequestErrors."""
    kinds = _declared(path, source, table.columns)
    values = []
    for name, kind in zip(table.columns, table.types, strict=True):
        if kind.id == "blob":
            raise BadRequestError(f"{path}: column {name} is BLOB, which can't be loaded", remedy="write it as text")
        document = kind.id == "varchar" and kinds[name] in _DOCUMENTS
        values.append(_of_text(name, kinds[name]) if document else _of_value(ColumnExpression(name), kind.id))
    return _through_duckdb(path, table, values)


def _declared(path: Path, source: SourceSpec, names: Sequence[str]) -> dict[str, Kind]:
    kinds = {c.name: duck_type(c.type).kind for c in source.columns}
    for name in names:
        if name not in kinds:
            raise BadRequestError(
                f"{path}: column {name} {unknown_column(name, kinds)}", remedy=f"declare it in source {source.name}"
            )
    return kinds


def _through_duckdb(path: Path, table: duckdb.DuckDBPyRelation, values: Sequence[Expression]) -> Rows:
    parts: list[Expression] = []
    for name, value in zip(table.columns, values, strict=True):
        key = msgspec.json.encode(name).decode()
        parts += [_text(f"{',' if parts else '{'}{key}:"), CoalesceOperator(value, _text("null"))]
    lines = table.select(FunctionExpression("concat", *parts, _text("}\n")).alias("line"))
    return Rows(len(table), lambda: _fetched(path, lines))


def _fetched(path: Path, lines: duckdb.DuckDBPyRelation) -> Iterator[Batch]:
    try:
        reader = lines.to_arrow_reader(ROWS_A_REQUEST)
        yield from _batched(line.encode() for batch in reader for line in batch.column(0).to_pylist())
    except duckdb.Error as error:
        raise _unreadable(path, error) from None


def _of_text(name: str, kind: Kind) -> Expression:
    """The JSON of a field that is text: what does not look like its type goes out as text, and the server says why
    it does not fit."""
    column = ColumnExpression(name)
    text = _json(column)
    if kind in _NUMBERS:
        return CaseExpression(FunctionExpression("regexp_full_match", column, _text(_NUMBER)), column).otherwise(text)
    if kind is Kind.BOOLEAN:
        lower = FunctionExpression("lower", column)
        yes = CaseExpression(lower.isin(_text("true"), _text("t"), _text("1")), _text("true"))
        return yes.when(lower.isin(_text("false"), _text("f"), _text("0")), _text("false")).otherwise(text)
    if kind in _DOCUMENTS:
        return CaseExpression(FunctionExpression("json_valid", column), column).otherwise(text)
    return text


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
