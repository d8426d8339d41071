"""Starting, stopping, and what happens when ClickHouse or the caller goes away."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import PortInUseError
from realtime.server import process
from realtime.settings import Settings
from tests.server.conftest import LAMBDAS
from tests.server.running import Running, running, until
from tests.serving.plans import deploy, plan, spec


@pytest.fixture
def fresh(endpoint: Endpoint, database: str, tmp_path: Path) -> Iterator[Running]:
    """A server over a database to which nothing was deployed."""
    with running(endpoint, database, tmp_path) as server:
        yield server


def test_before_the_first_deploy_and_after(fresh: Running, clickhouse: ClickHouse, database: str) -> None:
    assert fresh.ask("/healthz").json == {"status": "ok"}
    answer = fresh.ask("/readyz")
    assert (answer.status, answer.error["code"]) == (503, "not_ready")
    assert answer.error["message"] == "nothing is deployed yet"
    assert fresh.ask("/v1/lambdas").json == {"lambdas": []}
    assert fresh.ask("/v1/lambdas/a").error["details"] == {"remedy": "there are none"}
    assert fresh.ask("/openapi.json").json["paths"]

    old, new = spec("a", "SELECT 1 AS n"), spec("a", "SELECT 2 AS n")
    deploy(clickhouse, plan(database, [old]))
    until(lambda: fresh.ask("/readyz").status == 200, 3)
    assert fresh.ask("/v1/lambdas/a").json["data"] == [{"n": 1}]
    deploy(clickhouse, plan(database, [new]))
    until(lambda: fresh.ask("/v1/lambdas/a").headers["x-lambda-version"] == new.version, 3)
    assert fresh.ask("/v1/lambdas/a").json["data"] == [{"n": 2}]
    assert fresh.ask(f"/v1/lambdas/a/versions/{old.version}").json["data"] == [{"n": 1}]
    assert fresh.ask("/v1/lambdas").json["lambdas"][0]["versions"] == [old.version, new.version]


def test_clickhouse_down_and_back(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, {"DUET_CLICKHOUSE_PORT": "0"})
    port = local.start(settings).details["http_port"]
    again = Settings.load(tmp_path, {"DUET_CLICKHOUSE_PORT": str(port)})
    endpoint = Endpoint("127.0.0.1", port)
    try:
        client = ClickHouse(endpoint)
        deploy(client, plan("d", LAMBDAS))
        client.close()
        with running(endpoint, "d", tmp_path) as server:
            assert server.ask("/v1/lambdas/numbers").status == 200
            local.daemon(settings).stop()
            answer = server.ask("/v1/lambdas/numbers")
            assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")
            assert str(port) not in answer.body.decode()
            until(lambda: server.ask("/readyz").status == 503, 5)
            assert server.ask("/healthz").status == 200
            assert len(server.ask("/v1/lambdas").json["lambdas"]) == len(LAMBDAS)
            local.start(again)
            assert server.ask("/v1/lambdas/numbers").status == 200
            until(lambda: server.ask("/readyz").status == 200, 5)
    finally:
        local.daemon(settings).stop()


def test_a_caller_that_leaves_ends_its_query(served: Running, clickhouse: ClickHouse) -> None:
    seed = time.time_ns()
    count = (
        "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number)%' AND query NOT LIKE '%processes%'"
    )
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(
            f"GET /v1/lambdas/endless?seed={seed} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: left\r\n\r\n".encode()
        )
        until(lambda: clickhouse.value(count))
    until(lambda: not clickhouse.value(count), 5)
    until(lambda: [line for line in served.lines("request") if line["request_id"] == "left"])
    [line] = [line for line in served.lines("request") if line["request_id"] == "left"]
    assert (line["status"], line["lambda"]) == (499, "endless")
    assert not served.lines("unexpected error")


def test_many_callers_get_their_own_answers(served: Running) -> None:
    def call(caller: int) -> None:
        for turn in range(10):
            label = f"{caller}-{turn}"
            answer = served.ask("/v1/lambdas/numbers", count=1, label=label, headers={"X-Request-Id": label})
            assert answer.json["data"] == [{"n": 0, "label": label}]
            assert answer.headers["x-request-id"] == label

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(call, range(32)))


def test_a_call_in_flight_ends_before_the_server_does(fresh: Running, clickhouse: ClickHouse, database: str) -> None:
    deploy(clickhouse, plan(database, LAMBDAS))
    until(lambda: fresh.ask("/readyz").status == 200, 3)
    found: list[int] = []
    caller = threading.Thread(target=lambda: found.append(fresh.ask("/v1/lambdas/slow", tenths=10).status))
    caller.start()
    until(lambda: clickhouse.value("SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.1)%'") > 0)
    assert fresh.stop() == 0
    caller.join(10)
    assert found == [200]


def test_a_port_in_use(endpoint: Endpoint, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environ = {"CLICKHOUSE_URL": f"{endpoint.url}/d", "DUET_SERVER_PORT": port}
        with pytest.raises(PortInUseError, match=f"can't listen on 127.0.0.1:{port}"):
            process.start(Settings.load(tmp_path, environ))
        command = [sys.executable, "-m", "realtime.server", "--project-dir", str(tmp_path), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith("the server can't listen")
    assert "Traceback" not in ended.stderr


def test_start_finds_the_running_server_and_replaces_one_of_another_clickhouse(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    def start(url: str) -> tuple[int, str]:
        found = process.start(Settings.load(tmp_path, {"CLICKHOUSE_URL": f"{url}/d", "DUET_SERVER_PORT": "0"}))
        return found.pid, found.details["url"]

    settings = Settings.load(tmp_path)
    try:
        first = start(endpoint.url)
        assert urllib.parse.urlsplit(first[1]).port
        assert start(endpoint.url) == first
        assert start(endpoint.url.replace("127.0.0.1", "localhost"))[0] != first[0]
    finally:
        process.daemon(settings).stop()
    log = [json.loads(line) for line in process.daemon(settings).log.read_text().splitlines()]
    assert {line["level"] for line in log} == {"info"}


def test_a_call_that_meets_a_deploy_is_answered_by_the_new_version(
    fresh: Running, clickhouse: ClickHouse, database: str
) -> None:
    old, new = spec("a", f"SELECT n FROM {database}_duet.gone"), spec("a", "SELECT 2 AS n", columns=[("n", "INTEGER")])
    deploy(clickhouse, plan(database, [old]))
    until(lambda: fresh.ask("/readyz").status == 200, 3)
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(fresh.ask, "/v1/lambdas/a")
        deploy(clickhouse, plan(database, [new]))
        answer = early.result()
    assert (answer.status, answer.headers["x-lambda-version"]) == (200, new.version)
    gone = fresh.ask(f"/v1/lambdas/a/versions/{old.version}")
    assert (gone.status, gone.error["code"]) == (410, "gone")


def test_a_server_of_other_settings_is_replaced(tmp_path: Path, endpoint: Endpoint) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    base = {"CLICKHOUSE_URL": f"{endpoint.url}/shop", "DUET_SERVER_PORT": "0"}

    def started(**given: str) -> int:
        return process.start(Settings.load(tmp_path, base | given)).pid

    try:
        pids = [started(), started(DUET_TOKEN="t", DUET_KEEP_DAYS="1")]
        assert pids[0] == pids[1]
        for given in ({"DUET_CACHE_MB": "7"}, {"OTEL_SERVICE_NAME": "shop"}, {}):
            pids.append(started(**given))
            assert started(**given) == pids[-1]
        assert len(set(pids)) == 4
    finally:
        process.daemon(Settings.load(tmp_path, base)).stop()
