"""CSV as RFC 4180 has it, strictly: rows as JSON of what their columns need, and as they were sent.

Nothing is guessed: an empty field is NULL, a quoted empty one is not, and a row in which a quote is out of place or
fields are too many is refused with that reason. What does not look like its column's type goes on as text, and the
checks of the source say why it does not fit.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from realtime.errors import BadRequestError
from realtime.ingest.piece import Piece, Row
from realtime.planner.ir import SourceSpec
from realtime.transpile.types import Kind, duck_type

SEPARATORS = ",;\t|"
_SPECIAL = re.compile(rb'["\\\x00-\x1f]')
_ESCAPES = {bytes([c]): b"\\u%04x" % c for c in range(0x20)} | {b'"': b'\\"', b"\\": b"\\\\", b"\n": b"\\n"}
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLEANS = {b"true": b"true", b"t": b"true", b"1": b"true", b"false": b"false", b"f": b"false", b"0": b"false"}
_BROKEN = b"{"  # no JSON, so that each row is looked at
_raw = msgspec.json.Decoder(msgspec.Raw)


class Table:
    """The form of one CSV: its header line, and how the fields of a row become JSON."""

    def __init__(self, header: bytes, separator: str, source: SourceSpec) -> None:
        self.header = header.rstrip(b"\r\n").decode("utf-8", "replace")
        self._separator = separator.encode()
        self._fields = _pattern(self._separator)
        kinds = {c.name: duck_type(c.type).kind for c in source.columns}
        self.names = _names(header, self._fields)
        self._values = [_FORMS.get(kinds.get(name, Kind.TEXT), _text) for name in self.names]
        keys = [msgspec.json.encode(name).replace(b"%", b"%%") for name in self.names]
        self._form = b"{" + b",".join(key + b":%b" for key in keys) + b"}"

    @property
    def widest(self) -> int:
        """Bytes of JSON that a row has beside its fields, at most."""
        return len(self._form) + 6 * len(self.names)

    def piece(self, found: list[bytes]) -> Piece:
        """The piece that these rows, as `records` gives them, are."""
        json = self._at_once(b"".join(found), len(found))
        return Piece(_BROKEN if json is None else json, functools.partial(self._one_by_one, found), self.header)

    def _at_once(self, text: bytes, count: int) -> bytes | None:
        """The rows as NDJSON; None where one is malformed."""
        text = text if text.endswith(b"\n") else text + b"\n"
        fields = self._fields.findall(text)
        width = len(self.names)
        if len(fields) != count * width or sum(len(value) + len(end) for value, end in fields) != len(text):
            return None
        if any(end == self._separator for _, end in fields[width - 1 :: width]):
            return None
        columns = [[form(value) for value, _ in fields[place::width]] for place, form in enumerate(self._values)]
        return b"\n".join([self._form % row for row in zip(*columns, strict=True)])

    def _one_by_one(self, found: Iterable[bytes]) -> Iterator[Row]:
        for text in found:
            sent = text.rstrip(b"\r\n")
            fields = self._fields.findall(sent + b"\n")
            if sum(len(value) + len(end) for value, end in fields) != len(sent) + 1:
                yield Row(b"", sent, "the row is not CSV: a quote is out of place (RFC 4180)")
            elif len(fields) != len(self.names):
                yield Row(b"", sent, f"the row has {len(fields)} fields, the header {len(self.names)}")
            else:
                values = tuple(form(value) for form, (value, _) in zip(self._values, fields, strict=True))
                yield Row(self._form % values, sent)


def records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Rows with their line ends, of lines with theirs: a line end within quotes is part of its row. Blank lines are
    left out.

    >>> list(records([b"1,a\\n", b"\\n", b'2,"b\\n', b'c"\\n']))
    [b'1,a\\n', b'2,"b\\nc"\\n']
    """
    waiting: list[bytes] = []
    open_quote = False
    for line in lines:
        open_quote ^= line.count(b'"') % 2 == 1
        if open_quote or waiting:
            waiting.append(line)
            if not open_quote:
                yield b"".join(waiting)
                waiting = []
        elif line.strip(b"\r\n"):
            yield line
    if waiting:
        yield b"".join(waiting)


def pieces(body: bytes, separator: str, source: SourceSpec, size: int, limit: int) -> Iterator[Piece]:
    """The rows of ``body`` below its header, in pieces of about ``size`` bytes. BadRequestError where there is no
    header, or where the rows could be more than ``limit`` bytes as JSON."""
    found = records(io.BytesIO(body))
    table = Table(next(found, b""), separator, source)
    if body.count(b"\n") * table.widest + 6 * len(body) > limit:
        # Escapes make six bytes of one; a short body with long names makes many of few.
        _check_size(body, table, limit)
    return _pieces(table, found, size)


def _check_size(body: bytes, table: Table, limit: int) -> None:
    special = len(_SPECIAL.findall(body))
    if body.count(b"\n") * table.widest + len(body) + 5 * special > limit:
        raise BadRequestError(
            f"the rows of the body could be larger than {limit / 2**20:g} MiB as JSON",
            remedy="send fewer rows a request, or raise DUET_MAX_BODY_MB",
        )


def _pieces(table: Table, found: Iterator[bytes], size: int) -> Iterator[Piece]:
    waiting: list[bytes] = []
    length = 0
    for record in found:
        waiting.append(record)
        length += len(record)
        if length >= size:
            yield table.piece(waiting)
            waiting, length = [], 0
    if waiting:
        yield table.piece(waiting)


def separator_of(content_type: str) -> str:
    """The separator that a Content-Type names: ``text/csv; delimiter=";"``; BadRequestError for another one.

    >>> separator_of("text/csv; charset=utf-8")
    ','
    """
    if "header=absent" in content_type.replace(" ", ""):
        raise BadRequestError(
            "CSV without a header", remedy="name the columns in the first line, without header=absent"
        )
    found = re.search(r'delimiter="?(\\t|[^"])', content_type)
    separator = found.group(1).replace("\\t", "\t") if found else "\t" if "tab-separated" in content_type else ","
    if separator not in SEPARATORS:
        raise BadRequestError(f"delimiter {separator!r} is not known", remedy='use one of , ; | or "\\t"')
    return separator


@functools.cache
def _pattern(separator: bytes) -> re.Pattern[bytes]:
    """A field and what ends it; what is not CSV is skipped, so the lengths of all matches tell whether all is."""
    each = re.escape(separator)
    return re.compile(rb'("(?:[^"]|"")*+"|[^"\r\n' + each + rb"]*+)(" + each + rb"|\r?\n)")


def _names(header: bytes, fields: re.Pattern[bytes]) -> Sequence[str]:
    line = header.rstrip(b"\r\n") + b"\n"
    found = fields.findall(line)
    try:
        names = [_unquoted(name).decode() for name, _ in found]
    except UnicodeDecodeError:
        names = []
    if not all(names) or not names or sum(len(name) + len(end) for name, end in found) != len(line):
        raise BadRequestError(
            f"the first line of the CSV is no header: {header[:80].decode(errors='replace').strip()!r}",
            remedy="name the columns in the first line, separated as the rows are",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadRequestError(f"the CSV's header names {', '.join(twice)} twice", remedy="name each column once")
    return names


def _unquoted(field: bytes) -> bytes:
    return field[1:-1].replace(b'""', b'"') if field[:1] == b'"' else field


# -- the JSON of a field, by its column's type


def _text(field: bytes) -> bytes:
    if not field:
        return b"null"
    value = _unquoted(field)
    if _SPECIAL.search(value):
        value = _SPECIAL.sub(lambda found: _ESCAPES[found.group()], value)
    return b'"' + value + b'"'


def _number(field: bytes) -> bytes:
    if _NUMBER.fullmatch(field):
        return field
    value = _unquoted(field)
    return value if field and _NUMBER.fullmatch(value) else _text(field)


def _boolean(field: bytes) -> bytes:
    return _BOOLEANS.get(_unquoted(field).lower()) or _text(field)


def _document(field: bytes) -> bytes:
    """A field that holds JSON. In one line, as rows are."""
    value = _unquoted(field)
    try:
        _raw.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _text(field)
    return msgspec.json.format(value, indent=-1) if b"\n" in value or b"\r" in value else value


_FORMS: Mapping[Kind, Callable[[bytes], bytes]] = {
    Kind.INTEGER: _number,
    Kind.FLOAT: _number,
    Kind.DECIMAL: _number,
    Kind.BOOLEAN: _boolean,
    Kind.JSON: _document,
    Kind.LIST: _document,
    Kind.STRUCT: _document,
    Kind.MAP: _document,
}
