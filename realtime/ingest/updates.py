"""Partial updates as rows: what each gives, where it stands among those that are merged with it, and its shape, the
columns that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from realtime.ingest.piece import Piece, Row

PLACE, SHAPE = "_place", "_shape"
_encoder = msgspec.json.Encoder()


class _Ours:
    """What no JSON is: a row that names such a column does not fit."""


class Given(msgspec.Struct):
    """Updates ``rows``, and ``sent``, which gives them as they were sent."""

    rows: list[Any]
    sent: Callable[[], Sequence[Row]]
    header: str = ""


class Updates:
    """Reads updates whose columns have these types; those that are ``needed`` are in each.

    An update is a Struct with ``place``, ``shape`` and a field for each column, `msgspec.UNSET` where it is not given.
    """

    def __init__(self, types: Mapping[str, Any], needed: Iterable[str]) -> None:
        must = frozenset(needed)
        made: list[Any] = [(f"c{i}", kind) for i, (name, kind) in enumerate(types.items()) if name in must]
        made += [(f"c{i}", kind, msgspec.UNSET) for i, (name, kind) in enumerate(types.items()) if name not in must]
        made += [("place", _Ours, 0), ("shape", _Ours, 0)]
        names = {f"c{i}": name for i, name in enumerate(types)}
        own = {"place": PLACE, "shape": SHAPE}
        self._attributes = {name: f"c{i}" for i, name in enumerate(types)}
        self.decoder: msgspec.json.Decoder[Any] | None = None
        try:
            self._row = msgspec.defstruct("Update", made, rename=names | own, **_OPTIONS)
            self.decoder = msgspec.json.Decoder(self._row)
        except ValueError:  # a name has a character that msgspec does not take
            self._row = msgspec.defstruct("Update", made, rename=own, **_OPTIONS)
        written = {field.name: field.encode_name for field in msgspec.structs.fields(self._row)}
        self.written = {name: written[each] for name, each in self._attributes.items()}
        """What each column is called in `lines`."""

    def row(self, values: Mapping[str, Any]) -> Any:
        """The update that gives these values."""
        return self._row(**{self._attributes[name]: value for name, value in values.items()})

    def of(self, piece: Piece, rows: list[Any]) -> Given:
        """The ``rows`` that all of ``piece`` was read to."""
        return Given(rows, lambda: self._sent(piece, rows), piece.header)

    def number(self, rows: Sequence[Any]) -> list[frozenset[str]]:
        """Gives each row its place and its shape. Returns the shapes, each the columns that are given."""
        columns = [map(attrgetter(each), rows) for each in self._attributes.values()]
        given = zip(*([value is not msgspec.UNSET for value in column] for column in columns), strict=True)
        shapes: dict[tuple[bool, ...], int] = {}
        for place, (row, shape) in enumerate(zip(rows, given, strict=True)):
            row.place, row.shape = place, shapes.setdefault(shape, len(shapes))
        return [frozenset(n for n, there in zip(self._attributes, shape, strict=True) if there) for shape in shapes]

    def values(self, rows: Sequence[Any], names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """The values of the columns ``names``, which every row gives."""
        return zip(*(map(attrgetter(self._attributes[name]), rows) for name in names), strict=True)

    def _sent(self, piece: Piece, rows: list[Any]) -> Sequence[Row]:
        """The rows as they were sent; as they were read where they are not one a line."""
        found = list(piece.rows())
        lines = [row.json.strip() for row in found]
        if len(found) == len(rows) and all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
            return found
        texts = (
            {
                name: value
                for name, each in self._attributes.items()
                if (value := getattr(row, each)) is not msgspec.UNSET
            }
            for row in rows
        )
        return [Row(text, text) for text in map(_encoder.encode, texts)]


_OPTIONS: dict[str, Any] = {"forbid_unknown_fields": True, "kw_only": True, "gc": False}
