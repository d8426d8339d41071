"""Request bodies: decompressed within a limit, and cut into pieces of whole rows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import msgspec
import zstandard

from realtime.errors import BadRequestError
from realtime.ingest import arrow, csv
from realtime.ingest.piece import Piece, of_lines, of_rows
from realtime.planner.ir import SourceSpec

PIECE = 256 * 1024  # bytes checked at a stretch: about 4 ms, in which no other request is served
_WINDOW = 64 * 1024 * 1024  # what a zstd frame may make the decompressor hold
_BOM = b"\xef\xbb\xbf"
_EXPANDED = 4  # times the limit of a body that its rows may have as JSON
_raw = msgspec.json.Decoder(msgspec.Raw)
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """``body`` without its ``Content-Encoding``. BadRequestError where that is unknown or broken, or where more than
    ``limit`` bytes come out: it stops there, whatever the body claims."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        found = body
    elif name in _DECOMPRESS:
        try:
            found = _DECOMPRESS[name](body, limit + 1)
        except (zlib.error, zstandard.ZstdError, EOFError) as error:
            raise BadRequestError(
                f"the body is not valid {name}: {error}", remedy="send it whole, or without Content-Encoding"
            ) from None
    else:
        raise BadRequestError(f"Content-Encoding {encoding!r} is not known", remedy="send gzip, zstd or no compression")
    if len(found) > limit:
        raise too_large(limit)
    return found


def too_large(limit: int) -> BadRequestError:
    """The error for a body of more than ``limit`` bytes."""
    return BadRequestError(
        f"the body is larger than {limit / 2**20:g} MiB", remedy="send fewer rows a request, or raise DUET_MAX_BODY_MB"
    )


def pieces(body: bytes, content_type: str, source: SourceSpec, limit: int) -> Iterator[Piece]:
    """The rows of ``body`` in pieces of about `PIECE` bytes: NDJSON, a JSON array, CSV or an Arrow IPC stream, which
    ``content_type``, in lower case, tells. ``limit`` is that of a body in bytes. BadRequestError where rows can't be
    told apart: an array that is malformed, CSV without a header, a broken stream."""
    if "arrow" in content_type:
        return arrow.pieces(body, source, PIECE, _EXPANDED * limit)
    body = body.removeprefix(_BOM)
    if body and ("csv" in content_type or "tab-separated" in content_type):
        return csv.pieces(body, csv.separator_of(content_type), source, PIECE, _EXPANDED * limit)
    lines = "ndjson" in content_type or "jsonl" in content_type or "json-seq" in content_type
    start = body[:64].lstrip()[:1] or body.lstrip()[:1]
    if not start:
        raise BadRequestError("the body is empty", remedy="send rows as NDJSON, a JSON array, CSV or an Arrow stream")
    if not lines and start == b"[":
        return _in_pieces(_array(body))
    if not lines and "json" in content_type and _is_document(body):
        return iter([of_rows([body])])
    return _cut(body)


def _gunzip(body: bytes, limit: int) -> bytes:
    out = bytearray()
    while body and len(out) < limit:  # a file may hold several members
        member = zlib.decompressobj(wbits=31)
        out += member.decompress(body, limit - len(out))
        if not member.eof and len(out) < limit:
            raise EOFError("it ends too early")
        body = member.unused_data.lstrip(b"\0")
    return bytes(out)


def _unzstd(body: bytes, limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    # The reader is bounded but takes a frame that ends too early for whole; the frames' own objects tell, but a few
    # bytes can make them give a gigabyte. So the reader looks first.
    with decompressor.stream_reader(body, read_across_frames=True) as reader:
        if len(bounded := reader.read(limit)) == limit:
            return bounded
    out = bytearray()
    while body:
        frame = decompressor.decompressobj()
        out += frame.decompress(body)
        if not frame.eof:
            raise EOFError("it ends too early")
        body = frame.unused_data
    return bytes(out)


_DECOMPRESS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
}


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        return _raws.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequestError(
            f"the body starts as a JSON array but is not one: {error}", remedy="send a whole array, or NDJSON"
        ) from None


def _is_document(body: bytes) -> bool:
    """Whether it is one JSON value, perhaps printed over several lines."""
    try:
        _raw.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _in_pieces(rows: list[msgspec.Raw]) -> Iterator[Piece]:
    start = size = 0
    for place, row in enumerate(rows):
        size += len(memoryview(row))
        if size >= PIECE or place == len(rows) - 1:
            yield of_rows([bytes(r) for r in rows[start : place + 1]])
            start, size = place + 1, 0


def _cut(body: bytes) -> Iterator[Piece]:
    start = 0
    while start < len(body):
        end = body.rfind(b"\n", start, start + PIECE) + 1 or body.find(b"\n", start) + 1 or len(body)
        yield of_lines(body[start:end])
        start = end
