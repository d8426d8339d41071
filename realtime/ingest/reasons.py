"""Why a row is refused, in words for whoever sent it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import msgspec

_LONGEST = 60


class UnfitError(ValueError):
    """A value that a column can't hold exactly; the text completes "column x …"."""


class BadRow(msgspec.Struct, frozen=True):
    """A refused row: its text as sent, and for each column at fault the reason. No columns where the row is no
    JSON object at all. ``header`` is the header line of a CSV row; ``topic``,
    ``partition`` and ``offset`` say in which message it came."""

    row: str
    columns: tuple[str, ...]
    reasons: tuple[str, ...]
    header: str = ""
    topic: str = ""
    partition: int = -1
    offset: int = -1


def sent(row: bytes) -> str:
    """A row as quarantine keeps it."""
    return row.decode("utf-8", "backslashreplace")


def shown(raw: Any) -> str:
    """A value's JSON text, shortened to what a person reads."""
    text = str(bytes(raw), "utf-8", "backslashreplace").strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def unknown_column(name: str, known: Iterable[str]) -> str:
    """The reason for a column that the source does not declare, naming the nearest one that it does.

    >>> unknown_column("streamId", ["stream_id", "sender"])
    'is not declared; did you mean stream_id?'
    """
    names = list(known)
    folded = {n.replace("_", "").lower(): n for n in names}
    near = folded.get(name.replace("_", "").lower()) or next(iter(get_close_matches(name, names, 1)), None)
    return f"is not declared; did you mean {near}?" if near else f"is not declared; columns are {', '.join(names)}"
