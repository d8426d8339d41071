"""Writes what statements become into their fixtures, and docs/dialects.md: ``python -m tests.dialects.rewrite``."""

from __future__ import annotations

from realtime.dialects.translate import DIALECTS, to_duckdb
from realtime.errors import RefusedError
from realtime.project.binder import Binder
from tests.dialects.cases import cases, refused, schema, translated
from tests.dialects.reference import PAGE, page
from tests.transpile.cases import Case
from tests.transpile.rewrite import message


def main() -> None:
    """Rewrites every file; prints the statements that are on the wrong side."""
    for adapter in DIALECTS:
        binder = schema(adapter)
        for group, outcome in ((cases(adapter), _taken), (refused(adapter), _refused)):
            if group:
                blocks = [case.text(outcome(case, binder)) for case in group]
                group[0].path.write_text("\n\n".join(blocks) + "\n")
    PAGE.write_text(page())


def _taken(case: Case, binder: Binder) -> str:
    try:
        return translated(case, binder)
    except RefusedError as error:
        print(f"refused: {case}\n{error}")
        return case.expected


def _refused(case: Case, binder: Binder) -> str:
    try:
        print(f"taken: {case}\n{to_duckdb(case.sql, case.path.stem, binder).sql('duckdb')}")
        return case.expected
    except RefusedError as error:
        return message(error)


if __name__ == "__main__":
    main()
