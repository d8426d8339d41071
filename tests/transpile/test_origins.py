"""What a column is, followed through views: a last bit that DuckDB's plan decides must not be rounded further up."""

from __future__ import annotations

import pytest

from realtime.errors import RefusedError
from realtime.project.binder import Binder, table
from realtime.transpile.transpile import transpile

AVERAGES = "SELECT g, avg(x) AS a, avg(n) AS whole, sum(x) / count(x) AS exact FROM t GROUP BY g"


@pytest.fixture
def binder() -> Binder:
    found = Binder()
    found.add_table(table("t"), [("g", "INTEGER"), ("x", "DECIMAL(10, 2)"), ("n", "INTEGER")])
    averages = [(name, kind.name) for name, kind in found.describe(AVERAGES)]
    found.add_view(table("averages"), AVERAGES, averages)
    doubled = "SELECT g, a * 2 AS a, whole, exact FROM averages UNION ALL SELECT g, 0.5, whole, exact FROM averages"
    found.add_view(table("doubled"), doubled, averages)
    return found


@pytest.mark.parametrize("sql", ["SELECT round(a, 2) AS r FROM doubled", "SELECT a::DECIMAL(10, 2) AS r FROM averages"])
def test_rounding_an_average_of_another_model_is_refused(binder: Binder, sql: str) -> None:
    with pytest.raises(RefusedError, match="the last bit of an average of decimals depends on DuckDB's plan"):
        transpile(sql, binder)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, a > 2 AS large FROM doubled",
        "SELECT round(whole, 2) AS r, round(exact, 2) AS e FROM doubled",
        "SELECT round(avg(x) OVER (PARTITION BY g), 2) AS r FROM t",
        "SELECT round(avg(x), 2) AS r FROM t",
    ],
)
def test_what_is_steady_compiles(binder: Binder, sql: str) -> None:
    assert transpile(sql, binder).columns
