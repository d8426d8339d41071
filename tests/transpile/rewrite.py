"""Writes what the compiler gives now into tests/fixtures, and docs/sql.md after them:
``python -m tests.transpile.rewrite``; then read the diff.

Statements that are refused in ``transpile``, or compiled in ``refused``, are named and left as they are.
"""

from __future__ import annotations

import sys

from realtime.emit.readable import readable
from realtime.errors import RefusedError
from realtime.project.binder import Binder
from realtime.transpile.passes.to_databases import to_databases
from realtime.transpile.transpile import transpile
from tests.transpile.cases import FIXTURES, Case, read_file
from tests.transpile.engines import schema
from tests.transpile.reference import PAGE, reference


def main() -> int:
    """Rewrites every file; 1 where a statement is in the wrong folder."""
    binder, wrong = schema(), 0
    for folder in ("transpile", "refused"):
        for path in sorted((FIXTURES / folder).glob("*.sql")):
            blocks = []
            for case in read_file(path):
                expected = outcome(case, binder, refused=folder == "refused")
                wrong += expected is None
                blocks.append(case.text(case.expected if expected is None else expected))
            path.write_text("\n\n".join(blocks) + "\n")
    PAGE.write_text(reference())
    return 1 if wrong else 0


def outcome(case: Case, binder: Binder, *, refused: bool) -> str | None:
    """What the file should hold below the statement; None, with a word on stderr, where it is in the wrong folder."""
    try:
        compiled = transpile(case.sql, binder)
    except RefusedError as error:
        if refused:
            return message(error)
        print(f"{case}: refused: {error}", file=sys.stderr)
        return None
    if refused:
        print(f"{case}: is not refused", file=sys.stderr)
        return None
    return readable(to_databases(compiled.tree)) + ";"


def message(error: RefusedError) -> str:
    """The refusal as comment lines: place, construct and reason, then the remedy."""
    return "\n".join(f"-- {line}" for line in str(error).split("\n"))


if __name__ == "__main__":
    sys.exit(main())
