"""docs/sql.md says what the compiler's tables say, with an example of everything."""

from __future__ import annotations

import re

from tests.transpile.reference import PAGE, reference


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run: python -m tests.transpile.rewrite"


def test_every_construct_has_an_example() -> None:
    assert re.findall(r"^\| (.*) \|  \|  \|$", PAGE.read_text().partition("## Aggregates")[2], re.MULTILINE) == []
