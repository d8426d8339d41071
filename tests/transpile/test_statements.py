"""Single statements against DDL: names, lines, and what refuses only itself."""

from __future__ import annotations

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.errors import ConfigError
from realtime.transpile.statements import split, transpile_statements

DDL = """
CREATE SCHEMA shop;
CREATE TABLE Clicks (id INTEGER, "At" TIMESTAMP, who VARCHAR);
CREATE TABLE shop.orders (id INTEGER, amount DECIMAL(10, 2));
"""


def test_tables_keep_their_names_and_schemas_are_databases() -> None:
    first, second = transpile_statements(DDL, "SELECT count(*) AS n FROM clicks; SELECT ID, AMOUNT FROM shop.ORDERS")
    assert 'FROM "Clicks" AS clicks' in first.clickhouse
    assert "FROM shop.orders AS orders" in second.clickhouse
    assert "SETTINGS join_use_nulls = 1" in second.clickhouse


def test_columns_keep_the_spelling_of_the_ddl() -> None:
    (found,) = transpile_statements(DDL, 'SELECT "at" FROM clicks')
    assert 'clicks."At" AS "At"' in found.clickhouse


def test_each_statement_refuses_only_itself() -> None:
    sql = "SELECT 1 AS a;\n-- broken\nSELECT FROM WHERE;\n\nSELECT id,\n  random() AS r\nFROM clicks;\nSELECT 2 AS b"
    found = transpile_statements(DDL, sql)
    assert [s.status for s in found] == ["ok", "refused", "refused", "ok"]
    assert [s.line for s in found] == [1, 3, 6, 8]
    assert "depends on chance" in found[2].reason
    assert all(bool(s.clickhouse) != bool(s.reason) for s in found)


def test_an_unterminated_text_refuses_only_itself() -> None:
    found = transpile_statements(DDL, "SELECT 'open AS a FROM clicks;\nSELECT 1 AS b")
    assert [s.status for s in found] == ["refused", "ok"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (";;", []),
        ("-- nothing\n/* at; all */", []),
        ("SELECT 1; -- one; two\nSELECT 2;", [("SELECT 1", 1), ("SELECT 2", 2)]),
        ("SELECT ';', \";\", $$;$$, $t$;$t$, e'\\';'", [("SELECT ';', \";\", $$;$$, $t$;$t$, e'\\';'", 1)]),
        ("SELECT 1 /* ; */ + 1;", [("SELECT 1 /* ; */ + 1", 1)]),
    ],
)
def test_statements_end_at_semicolons(sql: str, expected: list[tuple[str, int]]) -> None:
    assert list(split(sql)) == expected


def test_broken_ddl_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"the schema can.t be read: .*TABEL"):
        transpile_statements("CREATE TABEL x (i INTEGER)", "SELECT 1")


def test_only_selects_are_compiled() -> None:
    (found,) = transpile_statements(DDL, "DROP TABLE clicks")
    assert (found.status, found.line) == ("refused", 1)


def test_the_text_runs_as_it_is(clickhouse: ClickHouse) -> None:
    (found,) = transpile_statements("", "SELECT 7 // 2 AS a, 'x' || 1 AS b")
    assert clickhouse.rows(found.clickhouse) == [{"a": 3, "b": "x1"}]
