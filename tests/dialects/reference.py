"""docs/dialects.md, made of the dialects' tables and of the cases in tests/fixtures/dialects:
``python -m tests.dialects.rewrite`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlglot import exp

from realtime.dialects.dialect import Dialect
from realtime.dialects.translate import DIALECTS
from tests.dialects.cases import cases, refused
from tests.transpile.cases import Case

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"
_INTRODUCTION = """\
# SQL that is written for other warehouses

A dbt project whose adapter is BigQuery, Postgres, Snowflake or Spark compiles as one for DuckDB does: `duet compile`
reads each model in its own dialect, with the meaning that it has there, as DuckDB's SQL, and compiles that for
ClickHouse (`docs/sql.md`). Columns of sources are declared in the warehouse's own types, parameters of lambdas too.
dbt's adapter (`dbt-postgres` …) is installed beside Duet.

What two engines compute differently is refused, with the place and what to write instead: integer division, NULLs in
an order, halves that are rounded, text that is compared, weeks, time zones … are written in DuckDB as the warehouse
means them, or not at all. What is not on this page is refused.

## What each dialect rests on

| dialect | its meaning | what is run | what is not |
| --- | --- | --- | --- |
| Postgres | measured | in the tests, on every change: PostgreSQL 15 answers every statement below, and a project \
with unit tests is compiled, deployed, tested and compared (`tests/dialects/test_postgres_project.py`) | \
`duet parity`, whose batch side is a DuckDB file; other locales than C.UTF-8 |
| Spark | documentation, compared by hand | once: Spark 3.5 (pyspark) answered the statements that were below then, \
in another time zone than UTC; on every change only the translation, in DuckDB and ClickHouse | dbt-spark, Databricks |
| Snowflake | documentation only | in the tests: fakesnow, an emulator on DuckDB, answers the statements. That shows a \
slip in the syntax, and is no proof of what Snowflake computes | Snowflake itself, dbt-snowflake |
| BigQuery | documentation only | in the tests: only the translation, in DuckDB and ClickHouse | \
BigQuery itself, dbt-bigquery |

For each of them the tests deploy a small project in ClickHouse and compare it with its translation in DuckDB. Rules
name the page of the vendor's reference that they follow; what no page says is refused.

Some settings of an account are taken at their defaults: in Snowflake NULLs last (`DEFAULT_NULL_ORDERING`), no collation
(`DEFAULT_DDL_COLLATION`) and literals of dates as `YYYY-MM-DD` (`DATE_INPUT_FORMAT`), in BigQuery UTC and no collation.
What other settings decide (when a week starts, a session's time zone, formats of dates in text) is refused.

Where the warehouse would fail on a row (a number that overflows, text that is no date), ClickHouse may fail on another
one or, for text, take what the warehouse does not: the batch run has no answer then that could be equal.

This page is generated (`python -m tests.dialects.rewrite`) from the compiler's tables and the tests' cases.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(line for name in DIALECTS for line in _dialect(name, DIALECTS[name]))])


def _dialect(adapter: str, dialect: Dialect) -> Iterator[str]:
    yield f"## {dialect.name}\n"
    yield "| type | in DuckDB |\n| --- | --- |"
    plain = {exp.DataType(this=k).sql(dialect.sqlglot): f for k, f in dialect.types.items() if isinstance(f, str)}
    yield from (f"| `{name}` | `{found}` |" for name, found in plain.items())
    yield f"| `{exp.DataType.build('DECIMAL(12, 2)').sql(dialect.sqlglot)}` | `DECIMAL(12, 2)` |"
    if dialect.unscaled:
        yield f"| `{exp.DataType.build('DECIMAL').sql(dialect.sqlglot)}` | `{dialect.unscaled}` |"
    yield "\n| compiles | as in |\n| --- | --- |"
    for case in cases(adapter):
        yield f"| {case.title} | {_code(case.sql)} |"
    yield "\n| refused | as in | why, and what to write |\n| --- | --- | --- |"
    for kind, found in dialect.types.items():
        if isinstance(found, tuple):
            yield f"| type `{exp.DataType(this=kind).sql(dialect.sqlglot)}` | | {found[0]} → {_cell(found[1])} |"
    for case in refused(adapter):
        yield f"| {case.title} | {_code(case.sql)} | {_reason(case)} |"
    yield ""


def _reason(case: Case) -> str:
    """Reason and remedy, without place and construct, which the column before shows."""
    first, *rest = (line.removeprefix("-- ").strip() for line in case.expected.splitlines())
    reason = first.rpartition(": ")[2]
    return _cell(" ".join([reason, *rest]))


def _code(sql: str) -> str:
    text = " ".join(sql.split())
    return f"`` {_cell(text)} ``" if "`" in text else f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
