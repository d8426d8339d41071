"""Where compiled lines stand in the authored file."""

from __future__ import annotations

from realtime.errors import RefusedError
from realtime.project.lines import place_as_authored

AUTHORED = """

{{ config(
    materialized='view'
) }}
select
    id,
    {% for n in [1, 2] %}
    n + {{ n }} as n_{{ n }},
    {% endfor %}
    now() as at_
from {{ ref('events') }}
"""
COMPILED = """
select
    id,

    n + 1 as n_1,

    n + 2 as n_2,

    now() as at_
from "memory"."main"."events\""""


def _placed(line: int, column: int, authored: str = AUTHORED) -> RefusedError:
    error = RefusedError("it is refused", file="models/m.sql", line=line, column=column)
    place_as_authored(error, COMPILED, authored)
    return error


def test_a_line_as_written() -> None:
    assert str(_placed(9, 5)) == "models/m.sql:11:5: it is refused"


def test_a_line_with_jinja_after_the_place() -> None:
    assert _placed(10, 6).place == "models/m.sql:12:6"


def test_a_line_with_jinja_before_the_place() -> None:
    assert _placed(10, 15).place == "models/m.sql:12"


def test_a_line_that_jinja_made() -> None:
    assert str(_placed(7, 5)) == "models/m.sql: it is refused (line 7 of the compiled SQL)"


def test_an_unknown_place_stays_unknown() -> None:
    assert str(_placed(0, 0)) == "models/m.sql: it is refused"


def test_without_the_authored_text_lines_are_those_compiled() -> None:
    assert _placed(9, 5, authored="").place == "models/m.sql:9:5"
