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
_NUMBERS = re.compile(rb"(?:(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)?\n)*+")
_TEXTS = re.compile(rb'(?:(?:"[^"\\\x00-\x1f]*+"|[^"\\\x00-\x1f]*+)\n)*+')
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
        self._columns = [_COLUMNS.get(form) or functools.partial(_one_by_one, form) for form in self._values]
        self._keys = [msgspec.json.encode(name).replace(b"%", b"%%") for name in self.names]
        self._form = _form(self._keys, [b"%b"] * len(self._keys))

    @property
    def widest(self) -> int:
        """Bytes of JSON that a row has beside its fields, at most."""
        return len(self._form) + 6 * len(self.names)

    def piece(self, text: bytes) -> Piece:
        """The piece that these rows are, whole ones as `records` gives them."""
        json = self._at_once(text)
        return Piece(_BROKEN if json is None else json, functools.partial(self._one_by_one, text), self.header)

    def _at_once(self, text: bytes) -> bytes | None:
        """The rows as NDJSON; None where one is malformed."""
        text = text if text.endswith(b"\n") else text + b"\n"
        if text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text:
            text = b"".join(records(io.BytesIO(text)))
        fields = self._quoted(text) if b'"' in text else self._plain(text)
        if fields is None:
            return None
        width = len(self.names)
        columns = [column(fields[place::width]) for place, column in enumerate(self._columns)]
        form = _form(self._keys, [each for each, _ in columns])
        return b"\n".join([form % row for row in zip(*(values for _, values in columns), strict=True)])

    def _plain(self, text: bytes) -> list[bytes] | None:
        """The fields of rows without quotes; None where one is malformed."""
        lines = text.replace(b"\r\n", b"\n") if b"\r" in text else text
        if not lines or b"\r" in lines:
            return None if lines else []
        separator, others = self._separator, len(self.names) - 1
        if any(line.count(separator) != others for line in lines[:-1].split(b"\n")):
            return None
        return lines[:-1].replace(b"\n", separator).split(separator)

    def _quoted(self, text: bytes) -> list[bytes] | None:
        """The same of rows with quotes."""
        ended = _pattern(self._separator, whole=True).findall(text)
        width, separator = len(self.names), self._separator
        if len(ended) % width or sum(map(len, ended)) != len(text):
            return None
        ends = [each[-1:] == separator for each in ended]
        if any(ends[width - 1 :: width]) or sum(ends) != len(ended) // width * (width - 1):
            return None
        return [each[:-2] if each[-2:] == b"\r\n" else each[:-1] for each in ended]

    def _one_by_one(self, text: bytes) -> Iterator[Row]:
        for record in records(io.BytesIO(text)):
            sent = record.rstrip(b"\r\n")
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
    lines = io.BytesIO(body)
    table = Table(next(records(lines), b""), separator, source)
    if body.count(b"\n") * table.widest + 6 * len(body) > limit:
        # Escapes make six bytes of one; a short body with long names makes many of few.
        _check_size(body, table, limit)
    return (table.piece(text) for text in _cut(body, lines.tell(), size // 2))  # as JSON they are longer


def _check_size(body: bytes, table: Table, limit: int) -> None:
    special = len(_SPECIAL.findall(body))
    if body.count(b"\n") * table.widest + len(body) + 5 * special > limit:
        raise BadRequestError(
            f"the rows of the body could be larger than {limit / 2**20:g} MiB as JSON",
            remedy="send fewer rows a request, or raise DUET_MAX_BODY_MB",
        )


def _cut(body: bytes, start: int, size: int) -> Iterator[bytes]:
    """``body`` from ``start`` on, cut where rows end: at line ends before which quotes are even."""
    while start < len(body):
        end = body.rfind(b"\n", start, start + size) + 1 or _line_end(body, start)
        odd = body.count(b'"', start, end) % 2
        while odd and end < len(body):
            after = _line_end(body, end)
            odd ^= body.count(b'"', end, after) % 2
            end = after
        yield body[start:end]
        start = end


def _line_end(body: bytes, start: int) -> int:
    return body.find(b"\n", start) + 1 or len(body)


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
def _pattern(separator: bytes, *, whole: bool = False) -> re.Pattern[bytes]:
    """A field and what ends it, or the ``whole`` of both; what is not CSV is skipped, so the lengths of all matches
    tell whether all is."""
    each = re.escape(separator)
    field, end = rb'"(?:[^"]|"")*+"|[^"\r\n' + each + rb"]*+", each + rb"|\r?\n"
    return re.compile(b"(?:%b)(?:%b)" % (field, end) if whole else b"(%b)(%b)" % (field, end))


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


def _form(keys: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    """A row's JSON, to be filled in."""
    return b"{" + b",".join(key + b":" + value for key, value in zip(keys, values, strict=True)) + b"}"


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
    Kind.ARRAY: _document,
    Kind.STRUCT: _document,
    Kind.MAP: _document,
}


# -- the same of all fields of a column: how each is written, and what

_Column = tuple[bytes, list[bytes]]


def _one_by_one(form: Callable[[bytes], bytes], fields: list[bytes]) -> _Column:
    return b"%b", [form(field) for field in fields]


def _texts(fields: list[bytes]) -> _Column:
    together = b"\n".join([*fields, b""])
    if _TEXTS.fullmatch(together) is None:
        return _one_by_one(_text, fields)
    if b'"' in together or b"" in fields:  # what is quoted in CSV is so in JSON
        return b"%b", [field if field[:1] == b'"' else b'"' + field + b'"' if field else b"null" for field in fields]
    return b'"%b"', fields


def _numbers(fields: list[bytes]) -> _Column:
    if _NUMBERS.fullmatch(b"\n".join([*fields, b""])) is None:
        return _one_by_one(_number, fields)
    return b"%b", [field or b"null" for field in fields] if b"" in fields else fields


_COLUMNS: Mapping[Callable[[bytes], bytes], Callable[[list[bytes]], _Column]] = {_text: _texts, _number: _numbers}
