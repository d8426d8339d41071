"""docs/dialects.md says what the tables and the cases say."""

from __future__ import annotations

from tests.dialects.reference import PAGE, page


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.dialects.rewrite`"
