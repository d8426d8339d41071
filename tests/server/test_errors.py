"""Everything that goes wrong comes in one body and tells nothing of the database."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.conftest import LAMBDAS
from tests.server.running import Running, until

ECHO = next(s for s in LAMBDAS if s.name == "echo")
CASES: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("/v1/lambdas/echo", {}, 400, "bad_request", "parameter stream is missing"),
    ("/v1/lambdas/echo", {"strem": "x", "stream": "y"}, 400, "bad_request", "has no parameter"),
    ("/v1/lambdas/numbers", {"count": "x"}, 400, "bad_request", 'parameter count is "x"; expected is a whole number'),
    ("/v1/lambdas/numbers", {"count": -1}, 400, "bad_request", "from 0 to 1000000"),
    ("/v1/lambdas/echo", {"stream": ["a", "b"]}, 400, "bad_request", "given 2 times"),
    ("/v1/lambdas/ecko", {}, 404, "not_found", "there is no lambda ecko"),
    ("/v1/lambdas/echo/versions/000", {}, 404, "not_found", "has no version 000"),
    ("/v1/lambdas/echo/tags/production", {}, 404, "not_found", "has no tag production"),
    ("/nowhere", {}, 404, "not_found", "nothing at /nowhere"),
    ("/v1/lambdas/broken", {}, 410, "gone", "not deployed any more"),
    ("/v1/lambdas/throws", {}, 422, "computation", "out of range"),
    ("/v1/lambdas/unknown_function", {}, 500, "internal", "the lambda failed"),
    ("/v1/lambdas/numbers", {"count": 1_000_000}, 422, "too_many_rows", "too many rows"),
]


@pytest.mark.parametrize(("path", "query", "status", "code", "message"), CASES)
def test_the_one_body(served: Running, path: str, query: dict[str, Any], status: int, code: str, message: str) -> None:
    answer = served.ask(path, **query)
    assert answer.status == status
    assert answer.error["code"] == code
    assert message in answer.error["message"]
    for secret in ("secret", "Code:", "DB::", "system", "ClickHouse", "Traceback"):
        assert secret not in answer.body.decode()


def test_what_exists_is_named(served: Running) -> None:
    assert served.ask("/v1/lambdas/ecko").error["details"] == {"remedy": "did you mean echo?"}
    assert ECHO.version in served.ask("/v1/lambdas/echo/versions/0").error["details"]["remedy"]
    assert "its tags are none" in served.ask("/v1/lambdas/echo/tags/production").error["details"]["remedy"]
    details = served.ask("/v1/lambdas/echo", strem="x").error["details"]
    assert details == {"lambda": "echo", "parameter": "strem", "remedy": "did you mean stream?"}
    wrong = served.ask("/v1/lambdas/numbers", {"count": 1.5}).error["details"]
    assert (wrong["lambda"], wrong["parameter"], wrong["given"]) == ("numbers", "count", "1.5")


def test_a_wrong_method(served: Running) -> None:
    answer = served.ask("/v1/lambdas/echo", method="DELETE")
    assert answer.status == 405
    assert answer.error["code"] == "method_not_allowed"
    assert answer.error["details"] == {"allowed": ["GET", "HEAD", "POST"]}
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (b"[1]", "the body is JSON, but a list"),
        (b'{"stream": "\xff"}', "the body is not JSON"),
        (b'{"stream": "\\ud800"}', "the body is not JSON"),
        (b"[" * 50_000, "the body is not JSON"),
        (b'{"stream": 1}', "expected is a text"),
        (b'{"stream": null}', "parameter stream is null"),
    ],
)
def test_a_wrong_body(served: Running, body: bytes, message: str) -> None:
    answer = served.ask("/v1/lambdas/echo", body)
    assert answer.status == 400
    assert message in answer.error["message"]


def test_too_large(served: Running) -> None:
    assert served.ask("/v1/lambdas/echo", b" " * (1 << 20) + b"{}").error["code"] == "too_large"
    answer = served.ask("/v1/lambdas/echo", {"stream": "x" * 600_000})
    assert (answer.status, answer.error["code"]) == (413, "too_large")


def test_events_have_the_same_body(served: Running) -> None:
    answer = served.ask("/v1/events/chat.nothing", [{"id": "1"}])
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert answer.error["details"] == {"remedy": "known sources are chat.messages"}
    assert served.ask("/v1/events/chat.messages").error["code"] == "method_not_allowed"


def test_a_query_string_that_is_not_utf8(served: Running) -> None:
    answer = served.ask("/v1/lambdas/echo?stream=%ff")
    assert (answer.status, answer.error["message"]) == (400, "the query string is not UTF-8")


def test_a_format_that_is_not_there(served: Running) -> None:
    answer = served.ask("/v1/lambdas/echo", stream="x", headers={"Accept": "image/png"})
    assert (answer.status, answer.error["code"]) == (406, "not_acceptable")


def test_the_log_has_what_the_caller_is_not_told(served: Running) -> None:
    request_id = served.ask("/v1/lambdas/unknown_function").json["request_id"]
    [line] = [line for line in served.lines("query failed") if line["request_id"] == request_id]
    assert "secretFunction" in line["clickhouse"]
    until(lambda: any(line["request_id"] == request_id for line in served.lines("request")))
    [line] = [line for line in served.lines("request") if line["request_id"] == request_id]
    assert (line["status"], line["lambda"], line["error"]) == (500, "unknown_function", "internal")


def test_a_request_id_that_is_no_plain_word_is_replaced(served: Running) -> None:
    answer = served.ask("/healthz", headers={"X-Request-Id": 'a"b'})
    assert answer.headers["x-request-id"] != 'a"b'
