"""Arrow IPC streams: rows as the JSON that quarantine shows and the source's checks read."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]  # has no types

from realtime.errors import BadRequestError
from realtime.ingest.piece import Piece, of_lines
from realtime.ingest.readers import json_lines
from realtime.planner.ir import SourceSpec

_NAME = "the Arrow stream"
_RECORD_BATCH = 3  # of MessageHeader in Arrow's Message.fbs
_DICTIONARY_BATCH = 2


def pieces(body: bytes, source: SourceSpec, size: int, limit: int) -> Iterator[Piece]:
    """The rows of ``body`` in pieces of about ``size`` bytes. BadRequestError where it is no stream, holds what JSON
    can't, or its rows are more than ``limit`` bytes as JSON: all is known before the first piece is given."""
    table = _read(body)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    chunks: list[bytes] = []
    total = 0
    try:
        relation = connection.from_arrow(table)
        _check_texts(relation, table.schema, limit)
        for lines in json_lines(relation, source, _NAME, size):
            total += len(lines)
            if total > limit:
                raise _too_large(limit)
            chunks.append(lines)
    except duckdb.Error as error:
        raise _unreadable(error) from None
    return map(of_lines, chunks)


def _read(body: bytes) -> pa.Table:
    try:
        _refuse_compressed(body)
        with pa.ipc.open_stream(body) as reader:
            names = reader.schema.names
            batches = list(reader)
        if len(set(names)) < len(names) or not names:
            raise BadRequestError(f"{_NAME} names a column twice, or none", remedy="name each column once")
        table = pa.Table.from_batches(batches, reader.schema)
        table.validate(full=True)  # what others send may point outside its buffers
        return table
    except (pa.ArrowException, ValueError, OSError, struct.error, IndexError) as error:
        raise _unreadable(error) from None


def _refuse_compressed(body: bytes) -> None:
    """Compressed buffers tell their size only when they are opened, and then it is too late."""
    reader = pa.ipc.MessageReader.open_stream(body)
    for message in iter(functools.partial(_next, reader), None):
        if _is_compressed(message.metadata.to_pybytes()):
            raise BadRequestError(
                f"{_NAME} holds compressed buffers", remedy="write it plain, and send it with Content-Encoding: zstd"
            )


def _next(reader: pa.ipc.MessageReader) -> pa.ipc.Message | None:
    try:
        return reader.read_next_message()
    except StopIteration:
        return None


def _is_compressed(metadata: bytes) -> bool:
    """Whether an IPC message, a flatbuffer as in Arrow's Message.fbs, is of a record batch with compression."""
    message = struct.unpack_from("<I", metadata)[0]
    kind, header = _field(metadata, message, 1), _field(metadata, message, 2)
    if not kind or not header or metadata[kind] not in (_RECORD_BATCH, _DICTIONARY_BATCH):
        return False
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    if metadata[kind] == _DICTIONARY_BATCH:
        data = _field(metadata, batch, 1)
        batch = data + struct.unpack_from("<I", metadata, data)[0] if data else 0
    return bool(batch and _field(metadata, batch, 3))


def _field(metadata: bytes, table: int, number: int) -> int:
    """The place of a flatbuffer table's field; 0 where it is not set."""
    index = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, index)[0]
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", metadata, index + entry)[0] if entry + 2 <= size else 0
    return table + offset if offset else 0


def _check_texts(relation: duckdb.DuckDBPyRelation, schema: pa.Schema, limit: int) -> None:
    """BadRequestError where texts are more than ``limit`` bytes: a dictionary, or a view, makes many of one."""
    size = 0
    for field in schema:
        if pa.types.is_dictionary(field.type) or pa.types.is_string_view(field.type):
            text = duckdb.ColumnExpression(field.name).cast("VARCHAR")
            found = relation.aggregate([duckdb.FunctionExpression("sum", duckdb.FunctionExpression("strlen", text))])
            size += int(found.fetchall()[0][0] or 0)
        elif _may_repeat(field.type):
            raise BadRequestError(
                f"{_NAME}: column {field.name} is {field.type}, which can't be read", remedy="send plain arrays"
            )
        if size > limit:
            raise _too_large(limit)


def _may_repeat(kind: pa.DataType) -> bool:
    """Whether a value of ``kind`` may stand in several places at once, here or in what it nests."""
    own = pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) or "view" in str(kind)
    return own or any(_may_repeat(kind.field(i).type) for i in range(kind.num_fields))


def _too_large(limit: int) -> BadRequestError:
    return BadRequestError(
        f"the rows of {_NAME} are larger than {limit / 2**20:g} MiB as JSON",
        remedy="send fewer rows a request, or raise DUET_MAX_BODY_MB",
    )


def _unreadable(error: Exception) -> BadRequestError:
    words = " ".join(str(error).split())[:300]
    return BadRequestError(f"the body is no Arrow IPC stream that can be read: {words}", remedy="send it whole")
