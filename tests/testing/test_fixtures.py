"""Given and expected rows as DuckDB tables."""

from __future__ import annotations

import pytest

from realtime.errors import BadRequestError
from realtime.planner.ir import Column, SourceSpec
from realtime.testing.fixtures import EXPECTED, connect, load_expected, load_given, split_fixtures
from realtime.testing.variant import given_source

COLUMNS = (Column("Who", "VARCHAR", "Nullable(String)"), Column("n", "HUGEINT", "Nullable(Int256)"))


def test_fixtures_are_cut_out_as_dbt_wrote_them() -> None:
    compiled = (
        "with recursive  __dbt__cte__a__b as (\n-- Fixture ) for b\nselect '日本 🦆 )(' as t, (1) as n\n"
        "),  __dbt__cte__c as (\nselect 2 as n\n), own as (select * from __dbt__cte__a__b)\n"
        "select t from own join __dbt__cte__c using (n)"
    )
    fixtures, query = split_fixtures(compiled, "duckdb")
    assert fixtures == {
        "__dbt__cte__a__b": "\n-- Fixture ) for b\nselect '日本 🦆 )(' as t, (1) as n\n",
        "__dbt__cte__c": "\nselect 2 as n\n",
    }
    assert query.sql("duckdb").startswith("WITH RECURSIVE own AS (SELECT * FROM __dbt__cte__a__b)")
    _, alone = split_fixtures("with __dbt__cte__c as (select 1 as n) select n from __dbt__cte__c", "duckdb")
    assert alone.sql("duckdb") == "SELECT n FROM __dbt__cte__c"


def test_given_rows_have_the_types_of_their_input() -> None:
    with connect() as connection:
        types = load_given(
            connection, "g", "select 1 as id, null as name, 2 as other", {"id": "BIGINT", "name": "VARCHAR"}
        )
        assert types == {"id": "BIGINT", "name": "VARCHAR", "other": "INTEGER"}
        with pytest.raises(BadRequestError, match="the given rows of h do not fit: Conversion Error"):
            load_given(connection, "__dbt__cte__h", "select 'x' as id", {"id": "BIGINT"})


def test_expected_rows_name_what_is_compared() -> None:
    with connect() as connection:
        tested = load_expected(connection, [{"N": 2**100}, {"n": None}], COLUMNS)
        assert tested == COLUMNS[1:]
        assert connection.table(EXPECTED).fetchall() == [(2**100,), (None,)]
    with connect() as connection:
        assert load_expected(connection, "select 1 as n, 'it''s' as who", COLUMNS) == COLUMNS
        assert connection.table(EXPECTED).fetchall() == [("it's", 1)]
    with connect() as connection:
        assert load_expected(connection, [], COLUMNS) == COLUMNS
        assert connection.table(EXPECTED).fetchall() == []
    with connect() as connection, pytest.raises(BadRequestError, match="name m, which the model does not have"):
        load_expected(connection, [{"m": 1}], COLUMNS)


@pytest.mark.parametrize(
    ("rows", "mode"),
    [
        ("select 'a' as k, 1 as v, false as gone union all select 'b', 1, null", "upsert"),
        ("select 'a' as k, 1 as v, false as gone union all select 'a', 2, false", "append"),
        ("select 'a' as k, 1 as v, true as gone", "append"),
        ("select null as k, 1 as v, false as gone", "append"),
        ("select 'a' as k, null as v, false as gone", "append"),
    ],
)
def test_upserted_source_takes_what_it_would_show(rows: str, mode: str) -> None:
    original = SourceSpec(
        name="s.t",
        landing="",
        quarantine="",
        batch="",
        columns=(),
        not_null=("k", "v"),
        mode="upsert",
        key=("k",),
        version="v",
        deleted="gone",
    )
    with connect() as connection:
        types = load_given(connection, "g", rows, {"k": "VARCHAR", "v": "BIGINT", "gone": "BOOLEAN"})
        source = given_source(connection, "g", types, original)
    assert source.options.get("mode", "append") == mode
