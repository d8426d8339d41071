"""Pieces of a request's body: whole rows as JSON, and as they were sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple


class Origin(NamedTuple):
    """The message that a row came in; of rows that came over HTTP it is this default."""

    topic: str = ""
    partition: int = -1
    offset: int = -1


class Row(NamedTuple):
    """A row as JSON and as it was sent; ``problem`` says why there is no JSON, where it can't be read at all."""

    json: bytes
    text: bytes
    problem: str = ""
    origin: Origin = Origin()


class Piece(NamedTuple):
    """Rows as NDJSON, checked at a stretch; ``rows`` gives them one by one where something in it does not fit. Of
    rows that need one to be read, ``header`` is the header line."""

    json: bytes
    rows: Callable[[], Iterable[Row]]
    header: str = ""


def of_lines(piece: bytes) -> Piece:
    """NDJSON.

    >>> [row.json for row in of_lines(b'{"id":1}\\n\\n{"id":2}').rows()]
    [b'{"id":1}', b'{"id":2}']
    """
    return Piece(piece, lambda: (Row(line, line) for line in piece.split(b"\n") if line.strip()))


def of_rows(rows: list[bytes]) -> Piece:
    """Values, each of which may go over several lines."""
    return Piece(b"\n".join(rows), lambda: (Row(row, row) for row in rows))
