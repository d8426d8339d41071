"""Writes what is emitted now into tests/fixtures/warehouses: ``python -m tests.emit.warehouses.rewrite``.

Statements in the wrong folder, refused or not, are named and left as they are.
"""

from __future__ import annotations

import sys

from realtime.emit.warehouses.translate import WAREHOUSES, translate
from realtime.errors import RefusedError
from realtime.project.binder import Binder
from tests.emit.warehouses.servers import text_of
from tests.transpile.cases import FIXTURES, Case, read_file
from tests.transpile.engines import schema
from tests.transpile.rewrite import message


def main() -> int:
    """Rewrites every file; 1 where a statement is in the wrong folder."""
    binder, wrong = schema(), 0
    for folder in (FIXTURES / "warehouses", FIXTURES / "warehouses" / "refused"):
        for path in sorted(folder.glob("*.sql")):
            blocks = []
            for case in read_file(path):
                text, refused = outcome(case, binder)
                if refused != (folder.name == "refused"):
                    print(f"{case}: {text}", file=sys.stderr)
                    text, wrong = case.expected, wrong + 1
                blocks.append(case.text(text))
            path.write_text("\n\n".join(blocks) + "\n")
    return 1 if wrong else 0


def outcome(case: Case, binder: Binder) -> tuple[str, bool]:
    """What the file should hold below the statement, and whether that is a refusal."""
    warehouse = WAREHOUSES[case.path.stem]
    try:
        return text_of(translate(case.sql, binder, warehouse).tree, warehouse) + ";", False
    except RefusedError as error:
        return message(error), True


if __name__ == "__main__":
    sys.exit(main())
