"""Calls of the real server, answered by the real ClickHouse."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa  # type: ignore[import-untyped]  # has no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # has no types
import pytest

from tests.server.conftest import LAMBDAS
from tests.server.running import Running

VERSIONS = {s.name: s.version for s in LAMBDAS}


def test_an_answer_and_its_headers(served: Running) -> None:
    answer = served.ask("/v1/lambdas/numbers", count=2, label="x", headers={"X-Request-Id": "mine-1"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-lambda-version"] == VERSIONS["numbers"]
    assert answer.headers["x-request-id"] == "mine-1"
    found = answer.json
    assert found["meta"] == [{"name": "n", "type": "Nullable(UInt64)"}, {"name": "label", "type": "Nullable(String)"}]
    assert found["data"] == [{"n": 0, "label": "x"}, {"n": 1, "label": "x"}]
    assert found["rows"] == 2
    assert found["statistics"]["rows_read"] >= 2


def test_query_string_body_and_both(served: Running) -> None:
    assert served.ask("/v1/lambdas/numbers").json["data"][-1] == {"n": 2, "label": None}
    assert served.ask("/v1/lambdas/numbers", {"count": 1, "label": "é\t'"}).json["data"] == [{"n": 0, "label": "é\t'"}]
    assert served.ask("/v1/lambdas/numbers", {"label": None}, count=1).json["data"] == [{"n": 0, "label": None}]
    assert served.ask("/v1/lambdas/numbers", b"").json["rows"] == 3


def test_the_clock_is_the_servers_and_can_be_given(served: Running) -> None:
    now = served.ask("/v1/lambdas/moment").json["data"][0]["t"]
    assert now.startswith("20")
    assert now.endswith("Z")
    then = served.ask("/v1/lambdas/moment", as_of="2018-05-01T14:00:00.5+02:00").json["data"]
    assert then == [{"t": "2018-05-01T12:00:00.500000Z"}]


def test_json_values(served: Running) -> None:
    answer = served.ask("/v1/lambdas/kinds")
    assert b'"big":9007199254740993' in answer.body
    row = answer.json["data"][0]
    assert row == {
        "big": 9007199254740993, "price": 1.5, "day": "2018-05-01", "odd": None, "nothing": None, "text": 'a,"b',
    }  # fmt: skip


def test_formats_by_suffix(served: Running) -> None:
    ndjson = served.ask("/v1/lambdas/numbers.ndjson")
    assert [json.loads(line)["n"] for line in ndjson.body.splitlines()] == [0, 1, 2]
    table = served.ask("/v1/lambdas/kinds.csv")
    assert table.headers["content-type"].startswith("text/csv")
    header, row = csv.reader(io.StringIO(table.body.decode()))
    assert header == ["big", "price", "day", "odd", "nothing", "text"]
    assert row == ["9007199254740993", "1.5", "2018-05-01", "nan", "", 'a,"b']
    arrow = pa.ipc.open_stream(served.ask("/v1/lambdas/numbers.arrow", label="é").body).read_all()
    assert arrow.to_pylist() == [{"n": n, "label": "é"} for n in range(3)]
    parquet = pq.read_table(io.BytesIO(served.ask(f"/v1/lambdas/numbers/versions/{VERSIONS['numbers']}.parquet").body))
    assert parquet.column("n").to_pylist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("application/json;q=0.2, application/vnd.apache.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_formats_by_accept(served: Running, accept: str, content_type: str) -> None:
    answer = served.ask("/v1/lambdas/numbers", headers={"Accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)


def test_a_head_request_has_no_body(served: Running) -> None:
    answer = served.ask("/v1/lambdas/numbers", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_the_list(served: Running) -> None:
    found = {entry["name"]: entry for entry in served.ask("/v1/lambdas").json["lambdas"]}
    assert set(found) == set(VERSIONS)
    assert found["numbers"]["versions"] == [VERSIONS["numbers"]]
    assert found["numbers"]["parameters"][0] == {
        "name": "count", "type": "INTEGER", "required": True, "default": 3, "description": "",
        "expected": "a whole number from 0 to 1000000",
    }  # fmt: skip


def test_hostile_texts_stay_texts(served: Running) -> None:
    for text in (
        "' OR 1=1 --",
        "\\",
        "\\N",
        "a\tb\nc\rd\0e",
        "}{",
        "%00%0a",
        "NULL",
        "x\\'); DROP TABLE t; --",
        "{stream:String}",
    ):
        assert served.ask("/v1/lambdas/echo", stream=text).json["data"] == [{"s": text}]
        assert served.ask("/v1/lambdas/echo", {"stream": text}).json["data"] == [{"s": text}]


def test_other_address_fields_reach_no_setting(served: Running) -> None:
    for name in ("max_threads", "query", "database", "param_stream", "default_format", "user"):
        error = served.ask(f"/v1/lambdas/echo?stream=a&{name}=1")
        assert error.status == 400
        assert error.error["details"]["parameter"] == name
    assert served.ask("/v1/lambdas/echo", stream="a&readonly=0&param_stream=b").json["data"][0]["s"].startswith("a&")
