"""Reads the cases in tests/fixtures: SQL files in which a statement and what is expected of it stand side by side.

A file is a list of blocks that are separated by blank lines. A block is: comment lines (the title; then, where
needed, ``-- fails`` for a statement that raises in both engines, and ``-- $name = value`` for a parameter), the
DuckDB statement up to its ``;``, and what is expected: the ClickHouse text up to its ``;`` in
``fixtures/transpile``, comment lines with the refusal's message in ``fixtures/refused``. Blank lines inside a
statement are not possible.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "fixtures"
_PARAMETER = re.compile(r"\$(\w+) = (.+)")


@dataclasses.dataclass(frozen=True)
class Case:
    """One statement. ``expected`` is empty where nobody wrote it yet."""

    path: Path
    line: int
    notes: tuple[str, ...]
    sql: str
    expected: str

    @property
    def title(self) -> str:
        """What the case is about."""
        return self.notes[0] if self.notes else self.sql.split("\n")[0]

    @property
    def fails(self) -> bool:
        """Whether both engines must raise."""
        return "fails" in self.notes

    @property
    def params(self) -> dict[str, Any]:
        """Values of the statement's parameters."""
        found = (_PARAMETER.fullmatch(n) for n in self.notes)
        return {m[1]: json.loads(m[2]) for m in found if m}

    def __str__(self) -> str:
        return f"{self.path.stem}:{self.line} {self.title}"

    def text(self, expected: str) -> str:
        """The block as the file holds it, with ``expected`` in its place."""
        return "\n".join([*(f"-- {n}" for n in self.notes), f"{self.sql};", expected])


def read(folder: str) -> list[Case]:
    """The cases of every file in a folder of tests/fixtures, in order."""
    return [case for path in sorted((FIXTURES / folder).glob("*.sql")) for case in read_file(path)]


def read_file(path: Path) -> list[Case]:
    """The cases of one file."""
    cases, line = [], 1
    for block in re.split(r"\n\n+", path.read_text()):
        if block.strip():
            cases.append(_case(path, line, block.strip("\n").split("\n")))
        line += block.count("\n") + 2
    return cases


def _case(path: Path, line: int, lines: list[str]) -> Case:
    notes = []
    while lines and lines[0].startswith("-- "):
        notes.append(lines.pop(0)[3:])
    end = next((i for i, text in enumerate(lines) if text.endswith(";")), None)
    assert end is not None, f"{path.name}:{line}: the statement has no `;` at the end of a line"
    sql = "\n".join(lines[: end + 1]).removesuffix(";")
    return Case(path, line, tuple(notes), sql, "\n".join(lines[end + 1 :]))
