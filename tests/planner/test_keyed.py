"""A lambda's query for many keys answers for each of them what the query for one does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.emit.readable import readable
from realtime.planner.ir import Missing, Param
from realtime.planner.keyed import KEY, NotKeyedError, for_many, keyed_query
from realtime.project.binder import Binder
from realtime.transpile.passes.to_databases import to_databases
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import parse, transpile

DDL = """
create table visits (k varchar, id integer not null, n integer, page varchar, day date);
create table orders (k varchar not null, total decimal(10, 2), n integer);
create table pages (page varchar not null, title varchar);
create table counters (u bigint not null, hits bigint not null);
"""
TABLES = {
    "visits": "(k Nullable(String), id Int32, n Nullable(Int32), page Nullable(String), day Nullable(Date32))",
    "orders": "(k String, total Nullable(Decimal(10, 2)), n Nullable(Int32))",
    "pages": "(page String, title Nullable(String))",
    "counters": "(u Int64, hits Int64)",
}
KEYS = ["a", "b", "ä'\\\t\"", "", '","__duet_key":"a', "a\n"]
K, U = "cast($k as varchar)", "cast($u as bigint)"
QUERIES: dict[str, tuple[str, Missing]] = {
    "rows": (f"select id, n from visits where k = {K}", Missing.EMPTY),
    "star": (f"select * from visits where k = {K} and n > 0", Missing.EMPTY),
    "other way round": (f"select id from visits where n is not null and {K} = k", Missing.EMPTY),
    "one row": (f"select count(*) as c, sum(n) as s, max(page) as p from visits where k = {K}", Missing.SAME),
    "having": (f"select count(*) as c from visits where k = {K} having count(*) > 1", Missing.ASK),
    "having over nothing": (f"select count(*) as c from visits where k = {K} having count(*) < 2", Missing.ASK),
    "groups": (f"select page, count(*) as c from visits where k = {K} group by page", Missing.EMPTY),
    "group by all": (f"select page, count(*) as c from visits where k = {K} group by all", Missing.EMPTY),
    "group by place": (f"select n % 2 as odd, count(*) as c from visits where k = {K} group by 1", Missing.EMPTY),
    "distinct": (f"select distinct page, n from visits where k = {K}", Missing.EMPTY),
    "limit": (f"select id, page from visits where k = {K} order by id desc limit 2", Missing.EMPTY),
    "limit and offset": (f"select id from visits where k = {K} order by id limit 2 offset 1", Missing.EMPTY),
    "bound limit": (f"select id from visits where k = {K} order by id limit cast($rows as bigint)", Missing.EMPTY),
    "window": (f"select id, row_number() over (order by id) as r, sum(n) over () as s from visits where k = {K}",
               Missing.EMPTY),
    "qualify": (f"select id from visits where k = {K} qualify row_number() over (partition by page order by id) = 1",
                Missing.EMPTY),
    "dimension": (f"select id, title from visits left join pages using (page) where k = {K}", Missing.EMPTY),
    "cte": (f"with mine as (select * from visits where k = {K}), final as (select * from mine where n > 0)"
            " select * from final order by id limit 3", Missing.EMPTY),
    "cte counted": (f"with mine as (select * from visits where k = {K}) select count(*) as c from mine", Missing.SAME),
    "aggregate of aggregate": (f"select max(c) as m from (select page, count(*) as c from visits where k = {K}"
                               " group by page) as x", Missing.SAME),
    "one row of one row": (f"select c + 1 as c from (select count(*) as c from visits where k = {K}) as x",
                           Missing.SAME),
    "one row, filtered": (f"select c from (select count(*) as c from visits where k = {K}) as x where c < 2",
                          Missing.ASK),
    "union": (f"select id, page from visits where k = {K} union all select n, k from orders where k = {K}",
              Missing.EMPTY),
    "except": (f"select n from visits where k = {K} except select n from orders where k = {K}", Missing.EMPTY),
    "cross joined rows": (f"select v.c, o.s from (select count(*) as c from visits where k = {K}) as v"
                          f" cross join (select sum(total) as s from orders where k = {K}) as o", Missing.ASK),
    "left joined rows": (f"select v.id, o.total from (select * from visits where k = {K}) as v"
                         f" left join (select * from orders where k = {K}) as o on v.n = o.n", Missing.EMPTY),
    "left joined stars": (f"select v.*, o.* exclude (k, n) from (select * from visits where k = {K}) as v"
                          f" left join (select * from orders where k = {K}) as o on v.n = o.n", Missing.EMPTY),
    "scalar subqueries": (f"select (select count(*) from visits where k = {K}) as c,"
                          f" (select sum(total) from orders where k = {K}) as s", Missing.ASK),
    "scalar and rows": (f"select id, (select count(*) from orders where k = {K}) as c from visits where k = {K}",
                        Missing.ASK),
    "whole number": (f"select hits from counters where u = {U}", Missing.EMPTY),
    "whole numbers summed": (f"select sum(hits) as s from counters where u = {U}", Missing.SAME),
}  # fmt: skip
REFUSED = {
    "shown": f"select {K} as k, n from visits where k = {K}",
    "compared otherwise": f"select n from visits where k >= {K}",
    "two uses": f"select n from visits where k = {K} or page = {K}",
    "under OR": f"select n from visits where k = {K} or n = 1",
    "under NOT": f"select n from visits where not k = {K}",
    "expression": f"select n from visits where lower(k) = {K}",
    "other type": "select n from visits where k = cast(cast($k as varchar) as varchar(3))",
    "beside one without": f"select id, page from visits where k = {K} union all select n, k from orders",
    "union of one row": f"select count(*) as c from visits where k = {K} union all select n from orders where k = {K}",
    "left joined one row": f"select v.id, o.c from (select * from visits where k = {K}) as v"
    f" left join (select count(*) as c from orders where k = {K}) as o on v.n = o.c",
    "full join": f"select v.id, o.total from (select * from visits where k = {K}) as v"
    f" full join (select * from orders where k = {K}) as o on v.n = o.n",
    "key on the right": "select p.page from pages as p"
    f" left join (select * from visits where k = {K}) as v on p.page = v.page",
    "exists": f"select n from visits where exists (select 1 from orders where k = {K})",
    "rollup": f"select page, count(*) as c from visits where k = {K} group by rollup (page)",
    "limit below": f"select count(*) as c from (select * from visits where k = {K} order by id limit 2) as v",
    "limit of the key": "select hits from counters where u = cast($u as bigint) limit cast($u as bigint)",
    "wider column": "select n from orders where n = cast($u as bigint)",
}
PARAMS = (
    Param(name="k", type="VARCHAR", clickhouse="Nullable(String)"),
    Param(name="u", type="BIGINT", clickhouse="Nullable(Int64)"),
    Param(name="rows", type="BIGINT", clickhouse="Nullable(Int64)", required=False),
)


TABLE = re.compile(r"\b(from|join|table) (visits|orders|pages|counters)\b")


@pytest.fixture(scope="module")
def types() -> Binder:
    found = Binder()
    found.execute("create schema keyed;" + TABLE.sub(r"\1 keyed.\2", DDL))
    return found


@pytest.fixture(scope="module")
def filled(clickhouse: ClickHouse) -> Iterator[ClickHouse]:
    clickhouse.execute("CREATE DATABASE keyed")
    for name, columns in TABLES.items():
        clickhouse.execute(f"CREATE TABLE keyed.{name} {columns} ENGINE = Memory")
    yield clickhouse
    clickhouse.execute("DROP DATABASE keyed SYNC")


def both(sql: str, types: Binder) -> tuple[str, str, Missing]:
    """ClickHouse SQL for one key and for many, and what a missing key means."""
    tree = parse(TABLE.sub(r"\1 keyed.\2", sql))
    params = tuple(p for p in PARAMS if f"${p.name} " in sql)
    compiled = transpile(tree, types)
    many = keyed_query(tree, params)
    keyed = for_many(many, transpile(many.tree, types), compiled.columns)
    one, every = (readable(with_settings(to_databases(t))) for t in (compiled.tree, keyed))
    return one, every, many.missing


@pytest.fixture(scope="module")
def compiled(types: Binder) -> dict[str, tuple[str, str, Missing]]:
    return {name: both(sql, types) for name, (sql, _) in QUERIES.items()}


VALUES = st.none() | st.integers(-2, 3)
TEXTS = st.none() | st.sampled_from(KEYS)
PLACES = st.none() | st.sampled_from(["home", "shop"])
ROWS = {
    "visits": st.tuples(TEXTS, st.integers(0, 10**9), VALUES, PLACES, st.none()),
    "orders": st.tuples(st.sampled_from(KEYS), VALUES, VALUES),
    "pages": st.tuples(st.sampled_from(["home", "shop"]), TEXTS),
    "counters": st.tuples(st.integers(-1, 2) | st.just(2**63 - 1), st.integers(0, 9)),
}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_key_is_answered_as_alone(
    filled: ClickHouse, compiled: dict[str, tuple[str, str, Missing]], data: st.DataObject
) -> None:
    for table, row in ROWS.items():
        filled.execute(f"TRUNCATE TABLE keyed.{table}")
        unique = {"visits": lambda r: r[1], "pages": lambda r: r[0]}.get(table)
        rows = data.draw(st.lists(row, max_size=12, unique_by=unique), label=table)
        if rows:
            names = [c.split()[0] for c in re.split(r", (?=[a-z])", TABLES[table].strip("()"))]
            filled.insert(f"keyed.{table}", names, [list(r) for r in rows])
    for name, (sql, missing) in QUERIES.items():
        one, every, found = compiled[name]
        assert found is missing, name
        keys: list[Any] = [*(KEYS if "$k " in sql else NUMBERS)]
        by_key = answers(filled, every, keys)
        alone = {repr(k): answer(filled, one, k) for k in keys}
        for key in keys:
            if repr(key) in by_key or missing is Missing.EMPTY:
                assert by_key.get(repr(key), []) == alone[repr(key)], (name, key, every)
        if missing is Missing.SAME:
            lacking = [alone[repr(k)] for k in keys if repr(k) not in by_key]
            assert all(a == lacking[0] for a in lacking), name


NUMBERS = (-1, 0, 1, 2**63 - 1, -(2**63))


def answer(client: ClickHouse, sql: str, key: Any) -> list[Any]:
    """The rows for one key; in order where the query has one."""
    found = client.bytes(f"{sql} FORMAT JSONEachRow", bound(key))
    return ordered(sql, [json.loads(line) for line in found.splitlines()])


def answers(client: ClickHouse, sql: str, keys: list[Any]) -> dict[str, list[Any]]:
    """The rows for all keys, by the keys' text."""
    found: dict[str, list[Any]] = {}
    for line in client.bytes(f"{sql} FORMAT JSONEachRow", bound(keys)).splitlines():
        row = json.loads(line)
        assert list(row)[-1] == KEY
        found.setdefault(repr(row.pop(KEY)), []).append(row)
    return {key: ordered(sql, rows) for key, rows in found.items()}


def bound(key: Any) -> dict[str, Any]:
    return {"k": key, "u": key, "rows": 3}


def ordered(sql: str, rows: list[Any]) -> list[Any]:
    last = sql.rpartition("FROM")[2]
    return rows if "ORDER BY" in last else sorted(rows, key=repr)


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_proven_has_no_such_query(types: Binder, name: str) -> None:
    with pytest.raises(NotKeyedError):
        both(REFUSED[name], types)
