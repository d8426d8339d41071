"""Statements for Snowflake in fakesnow and, translated, in DuckDB. fakesnow emulates Snowflake on a DuckDB of its own:
that is no proof of what Snowflake computes, for which its documentation stands, but it would show a slip."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import pytest

from realtime.transpile.types import DuckType, duck_type
from tests import fakesnow
from tests.dialects.answers import comparable
from tests.dialects.cases import FOLDER, cases, schema, tables, translated
from tests.transpile.cases import Case

# Where fakesnow is known not to do what Snowflake's documentation says.
_WRONG = {
    "sums": "fakesnow adds NUMBERs as doubles",
    "truncation of moments": "fakesnow makes timestamps of dates",
    "moments that are moved": "fakesnow makes timestamps of dates",
}
CASES = [case for case in cases("snowflake") if case.title not in _WRONG]


@pytest.fixture(scope="module")
def batch() -> duckdb.DuckDBPyConnection:
    """DuckDB with the tables."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(tables())
    return connection


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    """fakesnow's answer to every statement."""
    ddl = (FOLDER / "tables.sql").read_text()
    for given, wanted in {
        "timestamptz": "timestamp_ltz",
        " timestamp,": " timestamp_ntz,",
        " uuid": " varchar",
    }.items():
        ddl = ddl.replace(given, wanted)
    setup = [s for s in (ddl + (FOLDER / "rows.sql").read_text()).split(";\n") if s.strip()]
    found = fakesnow.answers(setup, [case.sql for case in CASES])
    return {case.sql: answer for case, answer in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fakesnow_and_duckdb_answer_the_same(
    case: Case, answers: dict[str, dict[str, Any]], batch: duckdb.DuckDBPyConnection
) -> None:
    relation = batch.sql(translated(case, schema("snowflake")).removesuffix(";"))
    kinds = [duck_type(str(t)) for t in relation.types]
    answer = answers[case.sql]
    assert "error" not in answer, answer
    assert _counted(relation.fetchall(), kinds) == _counted(answer["rows"], kinds)


def _counted(rows: list[Any], kinds: list[DuckType]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(comparable(v, k) for v, k in zip(row, kinds, strict=True)) for row in rows)
