"""Partial updates: what a row does not give stays as it was, whatever comes at once, late or twice."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError, UnavailableError
from realtime.ingest.intake import Intake
from realtime.ingest.request import Taken
from realtime.planner.ir import Plan, SourceSpec
from tests.ingest.rows import deployed, ndjson, quarantined
from tests.landing import source

COLUMNS = {
    "id": "BIGINT", "v": "BIGINT", "name": "VARCHAR", "price": "DECIMAL(10,2)", "at": "TIMESTAMP", "doc": "JSON",
    "tags": "VARCHAR[]", "gone": "BOOLEAN",
}  # fmt: skip
FULL = {"id": 1, "v": 1, "name": "a", "price": 1.5, "at": "2024-05-01", "doc": {"x": 1}, "tags": ["t"], "gone": False}


@pytest.fixture
def spec(database: str) -> SourceSpec:
    upsert = {"mode": "upsert", "key": ("id",), "version": "v", "deleted": "gone"}
    return source(database, COLUMNS, name="app.users", not_null=("id", "v", "name"), **upsert)  # type: ignore[arg-type]


@pytest.fixture
def plan(clickhouse: ClickHouse, database: str, spec: SourceSpec) -> Plan:
    return deployed(clickhouse, database, spec)


def newest(clickhouse: ClickHouse, spec: SourceSpec, key: int = 1) -> dict[str, Any]:
    query = f"SELECT v, name, toString(price) AS price, toDate(at) AS day, doc, tags, gone FROM {spec.landing} FINAL"
    (row,) = clickhouse.rows(f"{query} WHERE id = {key}")
    return row


def sent(endpoint: Endpoint, plan: Plan, *requests: tuple[str, list[dict[str, Any]]]) -> list[Taken]:
    """Requests, one after the other."""

    async def run() -> list[Taken]:
        intake = Intake(endpoint, plan)
        try:
            return [await intake.take("app.users", ndjson(*rows), method=method) for method, rows in requests]
        finally:
            await intake.close()

    return asyncio.run(run())


def test_only_what_is_given_changes(clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec) -> None:
    before = {"price": "1.5", "doc": '{"x": 1}', "tags": ["t"], "gone": False}
    sent(endpoint, plan, ("POST", [FULL]), ("PATCH", [{"id": 1, "v": 2, "name": "b"}]))
    found = newest(clickhouse, spec)
    assert {column: found[column] for column in before} == before
    assert (found["v"], found["name"], str(found["day"])) == (2, "b", "2024-05-01")
    sent(endpoint, plan, ("PATCH", [{"id": 1, "v": 3, "price": None, "doc": {"y": [1.0]}, "tags": []}]))
    found = newest(clickhouse, spec)
    assert (found["v"], found["name"], found["price"], found["doc"], found["tags"]) == (
        3,
        "b",
        None,
        '{"y": [1.0]}',
        [],
    )


def test_late_versions_change_nothing_and_equal_ones_do(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec
) -> None:
    late, equal = {"id": 1, "v": 4, "name": "late"}, {"id": 1, "v": 5, "price": 9}
    sent(endpoint, plan, ("POST", [{**FULL, "v": 5}]), ("PATCH", [late]), ("PATCH", [equal]), ("PATCH", [equal]))
    found = newest(clickhouse, spec)
    assert (found["v"], found["name"], found["price"]) == (5, "a", "9")


def test_updates_of_one_key_in_one_request_are_all_taken_by_their_versions(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec
) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "v": 4, "name": "four"},
        {"id": 1, "v": 3, "name": "three", "price": 3},
        {"id": 1, "v": 2, "price": 2, "tags": ["two"]},
    ]
    sent(endpoint, plan, ("POST", [FULL]), ("PATCH", rows))
    found = newest(clickhouse, spec)
    assert (found["v"], found["name"], found["price"], found["tags"]) == (4, "four", "3", ["two"])


def test_keys_that_are_not_there(clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 7, "v": 1, "name": "new", "tags": []},
        {"id": 8, "v": 1, "price": 1},
        {"id": 7, "v": 2, "price": 7},
        {"id": 9, "name": "x"},
        {"id": 7, "v": 3, "nmae": "x"},
    ]
    (taken,) = sent(endpoint, plan, ("PATCH", rows))
    assert taken == Taken(2, 3)
    assert newest(clickhouse, spec, 7)["price"] == "7"
    reasons = {json.loads(row).get("id"): (columns, why) for row, columns, why in quarantined(clickhouse, spec)}
    assert reasons[8] == (("name", "tags"), ("is missing, and no row has this key",) * 2)
    assert reasons[9] == (("v",), ("is missing, and must not be NULL",))


def test_what_was_deleted_stays_so_until_it_is_given_back(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec
) -> None:
    sent(endpoint, plan, ("POST", [FULL]), ("DELETE", [{"id": 1, "v": 2}]))
    (taken,) = sent(endpoint, plan, ("PATCH", [{"id": 1, "v": 3, "price": 3}]))
    assert taken == Taken(0, 1)
    assert newest(clickhouse, spec)["gone"]
    back = {"id": 1, "v": 4, "name": "back", "tags": [], "gone": False}
    assert sent(endpoint, plan, ("PATCH", [back])) == [Taken(1, 0)]
    assert newest(clickhouse, spec)["name"] == "back"


def test_a_whole_update_that_is_older_than_the_deletion_brings_nothing_back(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec
) -> None:
    """What it gives does not count, so another update of its request has no row to change."""
    sent(endpoint, plan, ("POST", [FULL]), ("DELETE", [{"id": 1, "v": 10}]))
    old = {"id": 1, "v": 5, "name": "old", "tags": ["old"], "gone": False}
    (taken,) = sent(endpoint, plan, ("PATCH", [old, {"id": 1, "v": 12, "price": 3, "gone": False}]))
    assert taken == Taken(1, 1)
    found = newest(clickhouse, spec)
    assert (found["v"], found["gone"]) == (10, True)
    assert [columns for _, columns, _ in quarantined(clickhouse, spec)] == [("name", "tags")]


def test_no_update_is_lost_between_two_servers(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec
) -> None:
    async def run() -> None:
        servers = [Intake(endpoint, plan) for _ in range(2)]
        await servers[0].take("app.users", ndjson(FULL))

        async def change(intake: Intake, column: str) -> None:
            for i in range(20):
                await intake.take("app.users", ndjson({"id": 1, "v": 1, column: i}), method="PATCH")

        many = [{"id": 100 + i, "v": 1, "name": "n", "tags": []} for i in range(500)]
        await asyncio.gather(
            change(servers[0], "price"),
            change(servers[1], "doc"),
            *(servers[i % 2].take("app.users", ndjson(row), method="PATCH") for i, row in enumerate(many)),
        )
        for intake in servers:
            await intake.close()

    asyncio.run(run())
    found = newest(clickhouse, spec)
    assert (found["price"], found["doc"]) == ("19", "19")
    assert clickhouse.value(f"SELECT count() FROM {spec.landing} FINAL") == 501


def test_refused_ones_are_kept_as_they_were_sent(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec
) -> None:
    async def run() -> list[Taken]:
        intake = Intake(endpoint, plan)
        try:
            return [
                await intake.take("app.users", b'id,v,price\n5,1,"1.5"\n', method="PATCH", content_type="text/csv"),
                await intake.take("app.users", b'{"id":6,\n"v":1}\n{"v":1,"id":7}\n', method="PATCH"),
                await intake.take("app.users", b'{"id": 8,  "v":1}\n{"id":8,"v":2,"_place":3}', method="PATCH"),
            ]
        finally:
            await intake.close()

    assert asyncio.run(run()) == [Taken(0, 1), Taken(0, 2), Taken(0, 2)]
    found = {row: why for row, _, why in quarantined(clickhouse, spec)}
    missing = ("is missing, and no row has this key",) * 2
    unknown = found.pop('{"id":8,"v":2,"_place":3}')
    assert unknown[0].startswith("is not declared")
    assert found == dict.fromkeys(('5,1,"1.5"', '{"id":6,"v":1}', '{"id":7,"v":1}', '{"id": 8,  "v":1}'), missing)


def test_what_a_view_can_not_take_is_kept_and_named(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec, database: str
) -> None:
    """Of requests that are merged together, and of two views: as POST does, and the others are everywhere."""
    clickhouse.execute(f"CREATE DATABASE {database}_state")
    for column, name in (("name", "numbers"), ("price", "prices")):
        clickhouse.execute(f"CREATE TABLE {database}_state.{name} (id Int64, n Nullable(Int64)) ENGINE Log")
        wrong = {"name": "toInt64(name)", "price": "throwIf(price = 7.25) + toInt64(price)"}[column]
        clickhouse.execute(
            f"CREATE MATERIALIZED VIEW {database}_state.{name}__mv TO {database}_state.{name} AS "
            f"SELECT id, {wrong} AS n FROM {spec.landing}"
        )
    good = [FULL | {"id": key, "name": "1", "doc": {"x": 'é"\n'}, "tags": ["$t$", "'"]} for key in range(4)]
    updates: list[dict[str, object]] = [
        {"id": 0, "v": 2, "name": "zwei"},
        {"id": 1, "v": 2, "name": "3"},
        {"id": 2, "v": 2, "price": 7.25},
        {"id": 9, "v": 1},
    ]

    async def run() -> list[Taken]:
        intake = Intake(endpoint, plan)
        try:
            await intake.take("app.users", ndjson(*good))
            patches = [intake.take("app.users", ndjson(update), method="PATCH") for update in updates]
            return await asyncio.gather(*patches, intake.take("app.users", ndjson(updates[0]), method="PATCH"))
        finally:
            await intake.close()

    assert asyncio.run(run()) == [Taken(0, 1), Taken(1, 0), Taken(0, 1), Taken(0, 1), Taken(0, 1)]
    assert {
        row["id"]: row["n"]
        for row in clickhouse.rows(f"SELECT id, max(n) AS n FROM {database}_state.numbers GROUP BY id")
    } == {0: 1, 1: 3, 2: 1, 3: 1}
    assert clickhouse.value(f"SELECT count() > 0 FROM {database}_state.prices WHERE id = 1 AND n = 1")
    found = {row: why for row, _, why in quarantined(clickhouse, spec)}
    for update, view in ((updates[0], "numbers"), (updates[2], "prices")):
        (why,) = found[json.dumps(update)]
        assert why.startswith(f"is stored, but {database}_state.{view}__mv can't take it: "), why
    assert set(found[json.dumps(updates[3])]) == {"is missing, and no row has this key"}
    assert [newest(clickhouse, spec, key)["v"] for key in range(3)] == [2, 2, 2]


def test_a_view_that_fails_without_a_row_at_fault(
    clickhouse: ClickHouse, endpoint: Endpoint, plan: Plan, spec: SourceSpec, database: str
) -> None:
    clickhouse.execute(f"CREATE DATABASE {database}_state")
    clickhouse.execute(f"CREATE TABLE {database}_state.users (id Int64, CONSTRAINT none CHECK id < 0) ENGINE Log")
    clickhouse.execute(
        f"CREATE MATERIALIZED VIEW {database}_state.users__mv TO {database}_state.users AS "
        f"SELECT id FROM {spec.landing}"
    )
    with pytest.raises(UnavailableError, match="users__mv fails: "):
        sent(endpoint, plan, ("PATCH", [FULL]))


NAMES = ("name", 'an "odd" one')
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4) | st.sampled_from(["$t$", "'", "\\"])
VALUES = {
    "word": TEXTS,
    "price": st.none() | st.integers(-(10**10) + 1, 10**10 - 1).map(lambda cents: f"{Decimal(cents).scaleb(-2):f}"),
    "ratio": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "tags": st.lists(TEXTS, max_size=2),
    "gone": st.none() | st.booleans(),
}
ROWS = st.fixed_dictionaries({"id": st.integers(0, 2), "v": st.integers(-1, 3)}, optional=VALUES)
REQUESTS = st.lists(
    st.tuples(st.sampled_from(["POST", "PATCH", "PATCH", "DELETE"]), st.lists(ROWS, min_size=1)), max_size=6
)
EMPTY: dict[str, Any] = {"word": "", "price": None, "ratio": None, "tags": [], "gone": None}
_runs = itertools.count()


def told(method: str, there: Mapping[int, dict[str, Any]], rows: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The newest rows after a request, as the documentation tells it."""
    found = dict(there)
    for key in {row["id"] for row in rows}:
        mine = [row for row in rows if row["id"] == key]
        old = there.get(key)
        if method == "PATCH":
            mine = [row for row in mine if old is None or row["v"] >= old["v"]]
            whole = any({"word", "tags"} <= row.keys() for row in mine)
            if not whole and (old is None or old["gone"]):
                continue
            if mine:
                found[key] = dict(old or EMPTY)
            for row in sorted(mine, key=lambda row: row["v"]):
                found[key] |= row
        else:
            for row in sorted(mine, key=lambda row: row["v"]):
                if old is None or row["v"] >= old["v"]:
                    found[key] = EMPTY | row
    return found


@pytest.mark.parametrize("word", NAMES)
def test_as_it_is_told(clickhouse: ClickHouse, endpoint: Endpoint, database: str, word: str) -> None:
    columns = {"run": "VARCHAR", "id": "INTEGER", "v": "BIGINT", word: "VARCHAR", "price": "DECIMAL(10,2)"}
    columns |= {"ratio": "DOUBLE", "tags": "VARCHAR[]", "gone": "BOOLEAN"}
    upsert = {"mode": "upsert", "key": ("run", "id"), "version": "v", "deleted": "gone"}
    spec = source(database, columns, name="app.users", not_null=("v", word), **upsert)  # type: ignore[arg-type]
    plan = deployed(clickhouse, database, spec)
    quoted_word = "`" + word + "`"

    async def send(run: str, requests: list[tuple[str, list[dict[str, Any]]]]) -> dict[int, dict[str, Any]]:
        intake = Intake(endpoint, plan)
        expected: dict[int, dict[str, Any]] = {}
        try:
            for method, rows in requests:
                given_rows = [row if method == "PATCH" else {"word": "", "tags": []} | row for row in rows]
                if method == "DELETE":
                    given_rows = [{"id": row["id"], "v": row["v"]} for row in rows]
                body = [{word if n == "word" else n: v for n, v in row.items()} | {"run": run} for row in given_rows]
                await intake.take("app.users", ndjson(*body), method=method)
                if method == "DELETE":
                    given_rows = [row | {"gone": True} for row in given_rows]
                expected = told(method, expected, given_rows)
        finally:
            await intake.close()
        return expected

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(REQUESTS)
    def check(requests: list[tuple[str, list[dict[str, Any]]]]) -> None:
        run = f"run '{next(_runs)}'\\"
        expected = asyncio.run(send(run, requests))
        query = (
            f"SELECT id, v, {quoted_word} AS word, toDecimalString(price, 2) AS price, ratio, tags, gone "
            f"FROM {spec.landing} FINAL WHERE run = {{run:String}}"
        )
        found = {row["id"]: row for row in clickhouse.rows(query, {"run": run})}
        assert found == expected

    check()


def test_appended_sources_take_none(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    plan = deployed(clickhouse, database, source(database, {"id": "BIGINT"}, name="app.users"))
    with pytest.raises(BadRequestError, match="it takes appended rows only"):
        sent(endpoint, plan, ("PATCH", [{"id": 1}]))
