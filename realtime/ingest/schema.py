"""A source's rows, checked: JSON in, the same rows as ClickHouse reads them out, and those that don't fit with reasons.

Whole pieces go through one msgspec call into a Struct made for the source. Only a piece in which something does not
fit is taken apart, row by row and column by column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from realtime.emit.names import quoted
from realtime.ingest.piece import Piece, Row
from realtime.ingest.reasons import BadRow, UnfitError, sent, unknown_column
from realtime.ingest.updates import Given, Updates
from realtime.ingest.values import Codec, codec, optional, row_type
from realtime.planner.ir import SourceSpec
from realtime.transpile.types import Kind, duck_type

_SEVENTH_PLACE = re.compile(rb"\.[0-9]{7}")
_SEVENTH_PLACE_OF_A_SECOND = re.compile(rb":[0-9]{2}\.[0-9]{7}")
_ESCAPED_DIGIT = re.compile(rb"\\u00(?:2[eE]|3[0-9aA])")
_encoder = msgspec.json.Encoder()
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Checked(msgspec.Struct):
    """``rows`` is NDJSON for ClickHouse, each row one line; ``count`` says how many; ``bad`` are the others."""

    rows: bytes
    count: int
    bad: list[BadRow]


class Schema:
    """The checks of ``source``, or of the rows that delete from it: those hold its key and version and nothing else."""

    def __init__(self, source: SourceSpec, *, deletes: bool = False) -> None:
        named = {*source.key, source.version} if deletes else {c.name for c in source.columns}
        columns = [c for c in source.columns if c.name in named]
        required = {*source.not_null, *source.key, source.version}
        types = [duck_type(c.type) for c in columns]
        self._codecs: dict[str, Codec] = {
            c.name: codec(t) if c.name in required else optional(codec(t)) for c, t in zip(columns, types, strict=True)
        }
        self._required = {n for n, c in self._codecs.items() if n in required or not c.nullable}
        self._identity = frozenset({*source.key, source.version})
        self.needed = tuple(sorted(self._required - self._identity))
        self._timed = any(t.kind in (Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.LIST, Kind.STRUCT, Kind.MAP) for t in types)
        row = row_type({n: (c.type, n in self._required) for n, c in self._codecs.items()}, omit=True)
        self._decoder = msgspec.json.Decoder(row) if row else None
        self._fixes = [(f"c{i}", c.fixed, c.keeps) for i, c in enumerate(self._codecs.values()) if c.fix]
        self.updates = Updates({n: c.type for n, c in self._codecs.items()}, self._identity & self._codecs.keys())
        self._tail = b"," + _encoder.encode({source.deleted: True})[1:] if deletes else b""
        self._only = "a deletion holds the key and the version only" if deletes else ""
        inserted = [*self._codecs, *([source.deleted] if deletes else [])]
        self.insert = f"INSERT INTO {source.whole} ({', '.join(map(quoted, inserted))}) FORMAT JSONEachRow"

    def check(self, piece: Piece) -> Checked:
        """Checks the rows of ``piece``."""
        try:
            found = self._fast(piece.json, self._decoder)
        except (ValueError, ArithmeticError, RecursionError):  # msgspec's errors are ValueErrors too
            return self._one_by_one(piece.rows(), piece.header)
        return Checked(self._lines(found), len(found), [])

    def given(self, piece: Piece) -> tuple[list[Given], list[BadRow]]:
        """The updates of ``piece``, each of which must have key and version and no other column, and those that don't
        fit."""
        try:
            return [self.updates.of(piece, self._fast(piece.json, self.updates.decoder))], []
        except (ValueError, ArithmeticError, RecursionError):
            rows, good, bad = [], [], []
            for row in piece.rows():
                found = [("", row.problem)] if row.problem else self._slow(row.json, self._identity)
                if isinstance(found, dict):
                    rows.append(row)
                    good.append(self.updates.row(found))
                else:
                    bad.append(_bad(row, found, piece.header))
            return [Given(good, lambda: rows, piece.header)], bad

    def _fast(self, piece: bytes, decoder: msgspec.json.Decoder[Any] | None) -> list[Any]:
        if decoder is None or (self._timed and _has_seventh_place(piece)):
            raise ValueError  # msgspec would round a seventh place
        rows: list[Any] = decoder.decode_lines(piece)
        for name, fixed, keeps in self._fixes:
            held, values = rows, list(map(attrgetter(name), rows))
            if decoder is not self._decoder and msgspec.UnsetType in set(map(type, values)):
                held = [row for row, value in zip(rows, values, strict=True) if value is not msgspec.UNSET]
                values = [value for value in values if value is not msgspec.UNSET]
            values = fixed(values)
            if not keeps:
                for row, value in zip(held, values, strict=True):
                    setattr(row, name, value)
        return rows

    def _lines(self, rows: Sequence[Any]) -> bytes:
        lines = _encoder.encode_lines(rows)
        # An encoded row holds no newline but the one at its end.
        return lines.replace(b"}\n", self._tail + b"\n") if self._tail else lines

    def _one_by_one(self, rows: Iterable[Row], header: str) -> Checked:
        good: list[Any] = []
        bad: list[BadRow] = []
        for row in rows:
            try:
                good += self._fast(row.json or b"!", self._decoder)
            except (ValueError, ArithmeticError, RecursionError):
                found = [("", row.problem)] if row.problem else self._slow(row.json)
                if isinstance(found, dict):
                    good.append(found)
                else:
                    bad.append(_bad(row, found, header))
        return Checked(self._lines(good), len(good), bad)

    def _slow(self, text: bytes, needed: frozenset[str] | None = None) -> dict[str, Any] | list[tuple[str, str]]:
        """The row's values, or the columns at fault with their reasons. Where only some columns are ``needed``, the
        values of those that are given."""
        try:
            given = _fields.decode(text)
        except UnicodeDecodeError:
            return [("", "the row is not UTF-8")]
        except msgspec.ValidationError:
            return [("", "the row is JSON, but not an object")]
        except msgspec.DecodeError as error:
            return [("", f"the row is not JSON: {error}")]
        except RecursionError:
            return [("", "the row is nested too deeply")]
        values: dict[str, Any] = {}
        reasons = [(n, self._only or unknown_column(n, self._codecs)) for n in given if n not in self._codecs]
        for name, each in self._codecs.items():
            if needed is not None and name not in given and name not in needed:
                continue
            try:
                values[name] = self._read(name, each, given.get(name))
            except UnfitError as error:
                reasons.append((name, str(error)))
        if needed is not None:
            return reasons or values
        return reasons or {n: v for n, v in values.items() if v is not None}

    def _read(self, name: str, each: Codec, raw: msgspec.Raw | None) -> Any:
        if name in self._required:
            if raw is None:
                raise UnfitError(
                    "is missing, and must not be NULL" if each.nullable else "is missing, and can't be NULL"
                )
            if each.nullable and bytes(raw) == b"null":
                raise UnfitError("must not be NULL")
        return None if raw is None else each.read(raw)


def _has_seventh_place(piece: bytes) -> bool:
    if _SEVENTH_PLACE.search(piece) and _SEVENTH_PLACE_OF_A_SECOND.search(piece):
        return True
    return b"\\u00" in piece and _ESCAPED_DIGIT.search(piece) is not None


def _bad(row: Row, reasons: Sequence[tuple[str, str]], header: str) -> BadRow:
    columns = tuple(name for name, _ in reasons if name)
    return BadRow(sent(row.text), columns, tuple(reason for _, reason in reasons), header, *row.origin)
