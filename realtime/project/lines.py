"""Where a line of compiled SQL stands in the file that its author wrote."""

from __future__ import annotations

import difflib

from realtime.errors import RefusedError


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
