"""What is refused is in the log with who asked for what, and nothing of the database is in an answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.ledger import Ledger
from realtime.serving.formats import FORMATS
from realtime.serving.tokens import Grant, Tokens
from tests.server.running import Running, running, until
from tests.serving.plans import deploy, param, plan, spec

DATABASE = "refused_secret"
# By ClickHouse's error; each of its messages names a secret.
FAILING = {
    "syntax": "SELEC secret_column",
    "unknown_table": "SELECT * FROM refused_secret.secret_table",
    "unknown_database": "SELECT * FROM secret_database.t",
    "unknown_column": "SELECT secret_column FROM refused_secret.t",
    "unknown_function": "SELECT secretFunction(1)",
    "types": "SELECT secret + 1 FROM refused_secret.t",
    "text_to_number": "SELECT toInt64(secret) FROM refused_secret.t",
    "text_to_moment": "SELECT toDateTime(secret) FROM refused_secret.t",
    "division": "SELECT intDiv(1, length(secret) - length(secret)) AS secret_name FROM refused_secret.t",
    "thrown": "SELECT throwIf(1, 'secret') FROM refused_secret.t",
    "late": "SELECT throwIf(number = 50000, 'secret') FROM numbers(60000) SETTINGS max_block_size = 1000",
    "overflow": "SELECT toDecimal32(number, 8) * 1000000 AS secret_name FROM numbers(100)",
    "memory": "SELECT groupArray(secret_name) FROM (SELECT number AS secret_name FROM numbers(10000000)) "
    "SETTINGS max_memory_usage = 1000000",
    "time": "SELECT sum(sleepEachRow(0.1)) AS secret_name FROM numbers(100) SETTINGS max_block_size = 1, "
    "max_execution_time = 0.1",
    "network": "SELECT * FROM remote('127.0.0.1:1', 'secret_database', 't', 'secret_user', 'secret_password')",
    "file": "SELECT * FROM file('secret.csv', 'CSV', 'a String')",
    "dictionary": "SELECT dictGet('secret_dictionary', 'a', 1)",
    "parameter": "SELECT {secret_parameter:String}",
    "not_allowed": "INSERT INTO refused_secret.t VALUES ('secret')",
    "several": "SELECT 1; SELECT secret FROM refused_secret.t",
}
HINTS = ("secret", "Code:", "DB::", "Exception", "ClickHouse", "Traceback", "127.0.0.1")


@pytest.fixture(scope="module")
def tokens(clickhouse: ClickHouse) -> Iterator[Tokens]:
    Ledger(clickhouse, DATABASE).create()
    clickhouse.execute(f"CREATE DATABASE {DATABASE}")
    clickhouse.execute(f"CREATE TABLE {DATABASE}.t (secret String) ENGINE = Memory")
    clickhouse.insert(f"{DATABASE}.t", ["secret"], [["secret"]])
    lambdas = [spec(name, select, [], [("n", "BIGINT")]) for name, select in FAILING.items()]
    lambdas.append(spec("echo", "SELECT {v:String} AS v", [param("v", "VARCHAR")], [("v", "VARCHAR")]))
    deploy(clickhouse, plan(DATABASE, lambdas))
    yield Tokens(clickhouse, DATABASE)
    for name in (DATABASE, f"{DATABASE}_duet"):
        clickhouse.execute(f"DROP DATABASE {name} SYNC")


@pytest.fixture(scope="module")
def server(endpoint: Endpoint, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(endpoint, DATABASE, tmp_path_factory.mktemp("refused")) as found:
        yield found


@pytest.mark.parametrize("name", FAILING)
def test_nothing_of_the_database_is_told(server: Running, name: str) -> None:
    for form in FORMATS:
        answer = server.ask(f"/v1/lambdas/{name}.{form.suffix}")
        assert answer.status >= 400
        said = (answer.body.decode() + str(answer.headers)).replace(DATABASE, "")
        assert [hint for hint in HINTS if hint in said] == []
        assert answer.error["details"]["remedy"]
    [line, *_] = [line for line in server.lines("query failed") if line["lambda"] == name]
    assert "secret" in line["clickhouse"] or name in ("overflow", "memory", "time", "several", "network", "not_allowed")


def test_what_is_refused_is_in_the_log(tokens: Tokens, server: Running) -> None:
    secret = tokens.create(Grant("narrow", run=("echo",), fixed={"v": "mine"}, rate=0.001))
    wide = tokens.create(Grant("wide", run=("*",)))
    until(lambda: server.ask("/v1/lambdas/echo", headers={"Authorization": f"Bearer {secret}"}).status == 200)
    asked: dict[str, tuple[dict[str, Any], int, str, str]] = {
        "none": ({"path": "/v1/lambdas/echo"}, 401, "unauthorized", ""),
        "unknown": ({"path": "/v1/lambdas/echo", "token": "duet_000_guessed"}, 401, "unauthorized", ""),
        "other": ({"path": "/v1/lambdas/types", "token": secret}, 403, "forbidden", "narrow"),
        "rate": ({"path": "/v1/lambdas/echo", "token": secret}, 429, "rate_limited", "narrow"),
        "parameter": ({"path": "/v1/lambdas/echo?w=hidden_value", "token": wide}, 400, "bad_request", "wide"),
        "missing": ({"path": "/v1/lambdas/nothing", "token": wide}, 404, "not_found", "wide"),
        "method": ({"path": "/v1/lambdas/echo", "token": wide, "method": "PUT"}, 405, "method_not_allowed", "wide"),
        "admin": ({"path": "/metrics", "token": wide}, 403, "forbidden", "wide"),
    }
    for label, (request, status, code, _) in asked.items():
        headers = {"X-Request-Id": label}
        headers |= {"Authorization": f"Bearer {request['token']}"} if "token" in request else {}
        answer = server.ask(request["path"], method=request.get("method", "GET"), headers=headers)
        assert (answer.status, answer.error["code"]) == (status, code), label
    until(lambda: {line["request_id"] for line in server.lines("request")} >= asked.keys())
    lines = {line["request_id"]: line for line in server.lines("request")}
    for label, (request, status, code, caller) in asked.items():
        line = lines[label]
        assert (line["status"], line["error"], line.get("token", "")) == (status, code, caller), label
        assert (line["path"], line["client"]) == (request["path"].partition("?")[0], "127.0.0.1")
    text = server.log.read_text()
    assert not any(hidden in text for hidden in (secret, wide, "guessed", "hidden_value"))


def test_what_is_no_request_is_in_the_log(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"no such protocol\r\n\r\n")
        assert b" 400 " in connection.recv(1000)
    until(lambda: server.lines("Invalid HTTP request received."))
