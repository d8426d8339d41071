"""Partial updates: what a row does not give stays as it was, whatever comes at once, late or twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError
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


def test_appended_sources_take_none(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    plan = deployed(clickhouse, database, source(database, {"id": "BIGINT"}, name="app.users"))
    with pytest.raises(BadRequestError, match="it takes appended rows only"):
        sent(endpoint, plan, ("PATCH", [{"id": 1}]))
