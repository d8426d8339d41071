"""``/v1/events/{source}`` over HTTP."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.intake import Limits
from realtime.planner.ir import SourceSpec
from tests.ingest.rows import COLUMNS, deployed, ndjson, row
from tests.ingest.served import served
from tests.landing import source


@pytest.fixture
def spec(database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.events", not_null=("id",))


@pytest.fixture
def users(database: str) -> SourceSpec:
    columns = {"id": "BIGINT", "version": "BIGINT", "gone": "BOOLEAN"}
    return source(
        database,
        columns,
        name="app.users",
        not_null=("id",),
        mode="upsert",
        key=("id",),
        version="version",
        deleted="gone",
    )


@pytest.fixture
def url(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec, users: SourceSpec
) -> Iterator[str]:
    limits = Limits(body=1 << 20, waiting=1 << 20)
    with served(endpoint, deployed(clickhouse, database, spec, users), limits) as address:
        yield address


def call(url: str, body: bytes, method: str = "POST", **headers: str) -> tuple[int, Any, Any]:
    """Status, the answer's JSON, and its headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def test_rows_are_counted(clickhouse: ClickHouse, url: str, spec: SourceSpec) -> None:
    body = ndjson(row(1), row(2), {"id": "x"})
    status, answer, _ = call(
        f"{url}/v1/events/app.events", gzip.compress(body), Content_Encoding="gzip", X_Request_Id="r-1"
    )
    assert (status, answer) == (200, {"successful_rows": 2, "quarantined_rows": 1})
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 2
    assert clickhouse.value(f"SELECT request_id FROM {spec.quarantine}") == "r-1"
    status, answer, _ = call(f"{url}/v1/events/app.events", ndjson({"id": "x"}))
    assert (status, answer) == (200, {"successful_rows": 0, "quarantined_rows": 1})


def test_a_key_counts_once(clickhouse: ClickHouse, url: str, spec: SourceSpec) -> None:
    for _ in range(3):
        assert call(f"{url}/v1/events/app.events", ndjson(row(1)), Idempotency_Key="k")[0] == 200
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 1


def test_a_key_of_other_rows_is_refused(clickhouse: ClickHouse, url: str, spec: SourceSpec) -> None:
    address = f"{url}/v1/events/app.events"
    assert call(address, ndjson(row(1)), Idempotency_Key="k")[0] == 200
    status, answer, _ = call(address, ndjson(row(2)), Idempotency_Key="k")
    assert (status, answer["error"]["code"]) == (422, "idempotency_key_reused")
    assert "'k'" in answer["error"]["message"]
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 1


def test_deletions(clickhouse: ClickHouse, url: str, users: SourceSpec) -> None:
    call(f"{url}/v1/events/app.users", ndjson({"id": 1, "version": 1}))
    status, answer, _ = call(f"{url}/v1/events/app.users", ndjson({"id": 1, "version": 2}), "DELETE")
    assert (status, answer) == (200, {"successful_rows": 1, "quarantined_rows": 0})
    assert clickhouse.value(f"SELECT gone FROM {users.landing} FINAL") is True
    status, answer, _ = call(f"{url}/v1/events/app.events", ndjson({"id": 1}), "DELETE")
    assert (status, answer["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "message"),
    [
        ("app.evnts", b"{}", {}, 404, "no source 'app.evnts'"),
        ("app.events", b"", {}, 400, "the body is empty"),
        ("app.events", b"x", {"Content_Encoding": "gzip"}, 400, "the body is not valid gzip"),
        ("app.events", b" " * (1 << 20) + b"{}", {}, 400, "the body is larger than 1 MiB"),
        (
            "app.events",
            gzip.compress(b" " * (1 << 26)),
            {"Content_Encoding": "gzip"},
            400,
            "the body is larger than 1 MiB",
        ),
    ],
)
def test_errors(url: str, path: str, body: bytes, headers: dict[str, str], status: int, message: str) -> None:
    found, answer, _ = call(f"{url}/v1/events/{path}", body, **headers)
    assert (found, answer["error"]["message"][: len(message)]) == (status, message)
    assert answer["error"]["details"]["remedy"]
    assert answer["request_id"]


def test_overload_is_429_and_what_was_taken_lands(clickhouse: ClickHouse, url: str, spec: SourceSpec) -> None:
    body = ndjson(*(row(i) for i in range(3_000)))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: call(f"{url}/v1/events/app.events", body), range(48)))
    statuses = [status for status, _, _ in found]
    assert set(statuses) == {200, 429}
    refused = next(each for each in found if each[0] == 429)
    assert refused[1]["error"]["code"] == "overloaded"
    assert int(refused[2]["Retry-After"]) >= 1
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 3_000 * statuses.count(200)
