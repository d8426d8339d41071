"""Refusals at their place in the file that an author wrote: SQL is compiled after dbt rendered it."""

from __future__ import annotations

import difflib
from typing import Protocol

from sqlglot.errors import SqlglotError

from realtime.errors import RefusedError

UNFORESEEN = (SqlglotError, RecursionError)
"""What the parser and the passes raise beside refusals."""


class Authored(Protocol):
    """A model, lambda or test: its compiled SQL, and the file and text that it was written in."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def sql(self) -> str: ...
    @property
    def raw(self) -> str: ...


def refusals_of(error: Exception, of: Authored, project: str) -> list[RefusedError]:
    """What ``error`` says of ``of``, in the order of the file; one refusal where it is none of Duet's."""
    if isinstance(error, RefusedError):
        every = sorted((error, *error.others), key=lambda e: (e.line, e.column))
    elif isinstance(error, RecursionError):
        every = [RefusedError("this SQL is nested too deeply to be analysed", remedy="split it into several models")]
    else:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        every = [RefusedError(f"this SQL can't be analysed: {first}", remedy="split it into simpler models")]
    for one in every:
        one.project, one.model, one.file, one.others = project, of.name, of.path, ()
        place_as_authored(one, of.sql, of.raw)
    return every


def place_as_authored(error: RefusedError, compiled: str, authored: str) -> None:
    """Moves the place of ``error``, which counts in ``compiled``, to ``authored``, in place.

    Where Jinja made lines that the author did not write, the message says that it counts compiled lines.
    """
    if not error.line or not authored:
        return
    line = authored_line(compiled, authored, error.line)
    if line is None:
        error.message += f" (line {error.line} of the compiled SQL)"
        error.line = error.column = 0
        return
    before = compiled.splitlines()[error.line - 1][: error.column - 1]
    # A column counts only as far as the line is what the author wrote.
    error.column = error.column if authored.splitlines()[line - 1].startswith(before) else 0
    error.line = line


def authored_line(compiled: str, authored: str, line: int) -> int | None:
    """The line of ``authored`` that became ``line`` of ``compiled`` (both from 1); None where it is unknown.

    >>> authored_line("a\\nfrom x", "{{ config(\\n) }}\\na\\nfrom {{ ref('x') }}", 2)
    4
    """
    matcher = difflib.SequenceMatcher(None, compiled.splitlines(), authored.splitlines(), autojunk=False)
    for kind, start, end, to, to_end in matcher.get_opcodes():
        if start < line <= end and (kind == "equal" or end - start == to_end - to):
            return to + line - start
    return None
