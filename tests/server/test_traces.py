"""Traces of a server's calls, as a collector gets them and as ClickHouse continues them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from tests.ingest.rows import deployed, ndjson
from tests.landing import source
from tests.server.conftest import LAMBDAS
from tests.server.running import Answer, Running, running, until
from tests.serving.plans import deploy, plan


class Collector:
    """Takes OTLP over HTTP at ``url``; ``paths`` are those of the requests that came."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.paths: list[str] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing is written."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource in request.resource_spans:
            known = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.services.add(known["service.name"])
            self.spans.extend(span for scope in resource.scope_spans for span in scope.spans)
        self.paths.append(path)

    def of(self, trace: str) -> tuple[Span | None, list[Span]]:
        """The server's span of ``trace`` and those of its queries; None before it has come."""
        found = [s for s in list(self.spans) if s.trace_id.hex() == trace]
        server = [s for s in found if s.kind == Span.SPAN_KIND_SERVER]
        return (server[0] if server else None), [s for s in found if s.kind == Span.SPAN_KIND_CLIENT]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def database(clickhouse: ClickHouse) -> Iterator[str]:
    name = "readable"  # what the user for lambdas may read
    upsert = {"mode": "upsert", "key": ("id",), "version": "v", "deleted": "gone"}
    columns = {"id": "VARCHAR", "v": "BIGINT", "n": "INTEGER", "gone": "BOOLEAN"}
    users = source(name, columns, name="app.users", **upsert)  # type: ignore[arg-type]
    deployed(clickhouse, name, users)
    deploy(clickhouse, plan(name, LAMBDAS, [users]))
    yield name
    for each in ("duet", "raw"):
        clickhouse.execute(f"DROP DATABASE {name}_{each} SYNC")


@pytest.fixture(scope="module")
def traced(
    endpoint: Endpoint, database: str, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    given = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "CLICKHOUSE_READ_USER": "duet_reader",
    }
    with running(endpoint, database, tmp_path_factory.mktemp("traced"), **given) as server:
        yield server


def call(server: Running, trace: str, path: str, flags: str = "01", **query: Any) -> Answer:
    return server.ask(path, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-{flags}"}, **query)


def came(collector: Collector, trace: str) -> tuple[Span, list[Span]]:
    """Waits for the server's span, which ends after those of its queries."""
    until(lambda: collector.of(trace)[0])
    server, queries = collector.of(trace)
    assert server is not None
    return server, queries


def attributes(span: Span) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def test_a_call_is_a_span_of_the_callers_trace_and_clickhouse_continues_it(
    traced: Running, collector: Collector, clickhouse: ClickHouse
) -> None:
    trace = uuid.uuid4().hex
    answer = call(traced, trace, "/v1/lambdas/numbers", count=2)
    assert answer.json["rows"] == 2
    server, (query,) = came(collector, trace)
    assert (server.name, server.parent_span_id.hex()) == ("lambda numbers", "00f067aa0ba902b7")
    known = attributes(server)
    assert known["duet.lambda"] == "numbers"
    assert known["duet.version"] == answer.headers["x-lambda-version"]
    assert known["duet.request_id"] == answer.headers["x-request-id"]
    assert (known["http.response.status_code"], known["duet.batch.size"], known["duet.rows"]) == (200, 1, 2)
    assert query.parent_span_id == server.span_id
    assert attributes(query)["db.system.name"] == "clickhouse"
    assert server.start_time_unix_nano <= query.start_time_unix_nano <= query.end_time_unix_nano
    assert query.end_time_unix_nano <= server.end_time_unix_nano
    assert query.span_id.hex() in _continued(clickhouse, trace)
    line = _line(traced, answer)
    assert (line["trace_id"], line["batch"], line["rows"]) == (trace, 1, 2)
    assert "duet" in collector.services
    assert "/v1/traces" in collector.paths


def test_calls_that_one_query_answers_are_linked_to_it(traced: Running, collector: Collector) -> None:
    traces = [uuid.uuid4().hex for _ in range(8)]
    with ThreadPoolExecutor(len(traces)) as pool:
        asked = [pool.submit(call, traced, trace, "/v1/lambdas/slow", tenths=5) for trace in traces]
        assert {found.result().status for found in asked} == {200}
    servers = {trace: came(collector, trace)[0] for trace in traces}
    queries = [query for trace in traces for query in came(collector, trace)[1]]
    assert sum(attributes(query)["duet.batch.size"] for query in queries) == len(traces)
    (together,) = (query for query in queries if query.links)
    linked = {link.trace_id.hex() for link in together.links}
    assert len(linked) == attributes(together)["duet.batch.size"] - 1 >= 5
    assert together.trace_id.hex() not in linked
    assert linked < set(traces)
    for trace in linked:
        assert not came(collector, trace)[1]
        (link,) = servers[trace].links
        assert (link.trace_id, link.span_id) == (together.trace_id, together.span_id)
        assert attributes(servers[trace])["duet.batch.size"] == len(linked) + 1


def test_a_failure_marks_the_spans_and_tells_nothing_of_the_database(traced: Running, collector: Collector) -> None:
    trace = uuid.uuid4().hex
    status = call(traced, trace, "/v1/lambdas/throws").status
    server, (query,) = came(collector, trace)
    assert attributes(server)["http.response.status_code"] == status
    assert query.status.code == Status.STATUS_CODE_ERROR
    assert attributes(query)["error.type"] == "ComputationError"
    assert b"secret" not in server.SerializeToString() + query.SerializeToString()


def test_a_trace_that_is_not_kept_is_not_sent(traced: Running, collector: Collector, clickhouse: ClickHouse) -> None:
    left_out, kept = uuid.uuid4().hex, uuid.uuid4().hex
    assert "trace_id" not in _line(traced, call(traced, left_out, "/v1/lambdas/numbers", flags="00"))
    assert _line(traced, call(traced, kept, "/v1/lambdas/numbers"))["trace_id"] == kept
    came(collector, kept)
    assert collector.of(left_out) == (None, [])
    assert not _continued(clickhouse, left_out)
    assert _continued(clickhouse, kept)


def test_rows_in_are_a_span_and_probes_are_none(traced: Running, collector: Collector) -> None:
    trace, probe = uuid.uuid4().hex, uuid.uuid4().hex
    assert call(traced, probe, "/healthz").status == 200
    known = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert traced.ask("/v1/events/nothing", b"{}", headers=known).status == 404
    server, queries = came(collector, trace)
    assert (server.name, queries) == ("POST /v1/events/{source}", [])
    assert attributes(server)["http.response.status_code"] == 404
    assert collector.of(probe) == (None, [])


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("key", ["", "key"])
def test_an_insert_is_below_its_request_and_clickhouse_continues_it(
    traced: Running, collector: Collector, clickhouse: ClickHouse, method: str, key: str
) -> None:
    trace = uuid.uuid4().hex
    kept = {"n": 1} if method != "DELETE" else {}
    body = ndjson({"id": "a", "v": 1, **kept}, {"id": "b", "v": 1, **kept}, {"id": "c"})
    known = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    if key:
        known["Idempotency-Key"] = trace
    answer = traced.ask("/v1/events/app.users", body, method=method, headers=known)
    assert answer.json == {"successful_rows": 2, "quarantined_rows": 1}
    server, inserts = came(collector, trace)
    found = attributes(server)
    assert (found["duet.source"], found["http.request.body.size"]) == ("app.users", len(body))
    assert (found["duet.rows"], found["duet.rows.quarantined"]) == (2, 1)
    assert found["http.response.status_code"] == 200
    assert {(each.name, attributes(each)["duet.rows"]) for each in inserts} == {
        ("clickhouse insert readable_raw.app__users", 2),
        ("clickhouse insert readable_raw.app__users__quarantine", 1),
    }
    assert {each.parent_span_id for each in inserts} == {server.span_id}
    assert {each.span_id.hex() for each in inserts} <= set(_continued(clickhouse, trace))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_requests_that_one_insert_carries_are_linked_to_it(traced: Running, collector: Collector, method: str) -> None:
    traces = [uuid.uuid4().hex for _ in range(24)]

    def send(trace: str) -> Answer:
        known = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        return traced.ask("/v1/events/app.users", ndjson({"id": trace, "v": 1}), method=method, headers=known)

    with ThreadPoolExecutor(len(traces)) as pool:
        assert {answer.status for answer in pool.map(send, traces)} == {200}
    servers = {trace: came(collector, trace)[0] for trace in traces}
    inserts = [insert for trace in traces for insert in came(collector, trace)[1]]
    assert sum(attributes(insert)["duet.batch.size"] for insert in inserts) == len(traces)
    assert sum(attributes(insert)["duet.rows"] for insert in inserts) == len(traces)
    assert any(insert.links for insert in inserts)
    for insert in inserts:
        linked = {link.trace_id.hex() for link in insert.links}
        assert len(linked) == attributes(insert)["duet.batch.size"] - 1
        for trace in linked:
            assert [link.span_id for link in servers[trace].links] == [insert.span_id]


def test_a_header_that_is_no_traceparent_begins_a_trace(traced: Running, collector: Collector) -> None:
    answer = traced.ask("/v1/lambdas/numbers", headers={"traceparent": "00-nothing"})
    came(collector, _line(traced, answer)["trace_id"])


def test_what_is_left_is_sent_at_the_end(
    endpoint: Endpoint, database: str, collector: Collector, tmp_path: Path
) -> None:
    trace = uuid.uuid4().hex
    given = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/own", "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with running(endpoint, database, tmp_path, OTEL_SERVICE_NAME="mine", **given) as server:
        assert call(server, trace, "/v1/lambdas/numbers").status == 200
        assert collector.of(trace) == (None, [])
        assert server.stop() == 0
    assert len(came(collector, trace)[1]) == 1
    assert collector.paths[-1] == "/own"
    assert "mine" in collector.services


def test_without_a_collector_nothing_is_traced(
    endpoint: Endpoint, database: str, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    trace = uuid.uuid4().hex
    with running(endpoint, database, tmp_path) as server:
        line = _line(server, call(server, trace, "/v1/lambdas/numbers", count=2))
    assert "trace_id" not in line
    assert (line["batch"], line["rows"]) == (1, 2)
    assert not _continued(clickhouse, trace)


def test_the_packages_are_asked_for_where_they_are_missing(endpoint: Endpoint, database: str, tmp_path: Path) -> None:
    hidden = tmp_path / "opentelemetry-hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry.sdk.trace'] = None\n")
    command = [sys.executable, "-m", "realtime.server", "--project-dir", str(tmp_path), "--port", "0"]
    environment = {
        **os.environ,
        "CLICKHOUSE_URL": f"{endpoint.url}/{database}",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces",
        "PYTHONPATH": str(hidden),
    }
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "pip install 'duet[traces]'" in ended.stderr


def _line(server: Running, answer: Answer) -> dict[str, Any]:
    """The log's line of the request, which is written after its answer."""

    def found() -> list[dict[str, Any]]:
        return [line for line in server.lines("request") if line["request_id"] == answer.headers["x-request-id"]]

    until(found)
    return found()[0]


def _continued(clickhouse: ClickHouse, trace: str) -> list[str]:
    """The spans that ClickHouse's spans of ``trace`` are below of."""
    clickhouse.execute("SYSTEM FLUSH LOGS opentelemetry_span_log")
    rows = clickhouse.rows(
        "SELECT lower(leftPad(hex(parent_span_id), 16, '0')) AS parent FROM system.opentelemetry_span_log"
        f" WHERE trace_id = '{uuid.UUID(trace)}'"
    )
    return [row["parent"] for row in rows]
