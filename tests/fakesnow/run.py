"""Runs Snowflake statements in fakesnow, with the Python of `.fakesnow`: JSON in, JSON out.

In: ``{"setup": [statement…], "queries": [statement…]}``. Out: for each query ``{"rows": […]}`` or ``{"error": text}``.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    """Reads from standard input, writes to standard output."""
    # Only `.fakesnow` has these; the tests' own Python reads this module too.
    import fakesnow  # type: ignore[import-not-found]
    import snowflake.connector  # type: ignore[import-not-found]

    asked = json.load(sys.stdin)
    with fakesnow.patch():
        cursor = snowflake.connector.connect(database="DUET", schema="PUBLIC").cursor()
        for statement in asked["setup"]:
            cursor.execute(statement)
        json.dump([_answer(cursor, query) for query in asked["queries"]], sys.stdout, default=str)


def _answer(cursor: Any, query: str) -> dict[str, Any]:
    try:
        return {"rows": cursor.execute(query).fetchall()}
    except Exception as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
