"""SQL as it should not be, and as it is: nothing but a plan or refusals with a remedy ever comes out."""

from __future__ import annotations

import dataclasses

import duckdb
import pytest

from realtime.errors import ConfigError
from realtime.planner.planner import plan_project
from realtime.project.binder import table
from realtime.project.catalogs import check_database
from tests.planner.small import Declared, project

SOURCES = {"app.events": Declared({"id": "bigint", "k": "varchar"})}
EVENTS = "from {{ source('app', 'events') }}"
REFUSED = {
    "": "there is no SQL in it",
    "-- to do": "there is no SQL in it",
    "select 1 as a; select 2 as b": "there are 2 statements in it",
    f"select 'abc {EVENTS}": "can't be parsed",
    f"select id {EVENTS} where (((k = 'a')": "can't be parsed",
    f"select\tid,\n\t\tnow() as x {EVENTS}": "models/m.sql:2:3: NOW()",
    f"select id,\r\n  now() as x\r\n{EVENTS}": "models/m.sql:2:3: NOW()",
    f"select id, id {EVENTS}": "two columns are called id",
    f"select {'(' * 3000}id{')' * 3000} as x {EVENTS}": "nested too deeply",
    f"select {'+'.join(['id'] * 5000)} as x {EVENTS}": "Max expression depth",
    f"select id from ({f'select id {EVENTS}) as t'}": "",
}
TAKEN = {
    "comments": f'/* a */ select /* b */ id -- c\n, k as "SELECT" /* d */ {EVENTS} -- end',
    "names": f'select id as "größe 😀", k as "two words", id as "ORDER", k as "a`b", k as "c\'d", k as "e\\f" {EVENTS}',
    "windows": f"select\r\n\tid\r\n{EVENTS}\r\n",
    "parentheses": f"select {'(' * 150}id{')' * 150} as x {EVENTS}",
    "branches": " union all ".join([f"select id, k {EVENTS}"] * 40),
}


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: sql[:30])
def test_refused(sql: str) -> None:
    refusals = plan_project(project(SOURCES, {"m": sql}), "x").refusals
    assert bool(refusals) == bool(REFUSED[sql])
    assert all(r.remedy or "DuckDB does not take" in str(r) for r in refusals)
    assert not refusals or REFUSED[sql] in str(refusals[0])


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    outcome = plan_project(project(SOURCES, {"m": TAKEN[name]}), "x")
    assert not outcome.refusals
    assert outcome.plan.steps[0].select


def test_a_database_called_like_its_schema() -> None:
    built = project({"shop.orders": SOURCES["app.events"]}, {"m": "select * from {{ source('shop', 'orders') }}"})
    check_database(built)
    sources = {u: dataclasses.replace(s, relation=table("orders", "shop", "shop")) for u, s in built.sources.items()}
    models = {u: dataclasses.replace(m, relation=table("m", "main", "shop")) for u, m in built.models.items()}
    same = dataclasses.replace(built, sources=sources, models=models)
    with pytest.raises(ConfigError, match="both called shop"):
        check_database(same)
    tables = {u: dataclasses.replace(m, materialized="table") for u, m in models.items()}
    check_database(dataclasses.replace(same, models=tables))
    with duckdb.connect() as connection:
        connection.execute("ATTACH ':memory:' AS shop; CREATE SCHEMA shop.shop; CREATE TABLE shop.shop.orders (id INT)")
        connection.execute("CREATE TABLE shop.main.m AS SELECT * FROM shop.shop.orders")
        with pytest.raises(duckdb.BinderException, match="Ambiguous reference"):
            connection.execute("CREATE VIEW shop.main.v AS SELECT * FROM shop.shop.orders")
