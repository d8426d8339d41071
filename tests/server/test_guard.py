"""Tokens: what each is for, and that nothing goes on without one once there is any."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.ledger import Ledger
from realtime.errors import DuetError, NotFoundError
from realtime.ingest.files import load
from realtime.serving.client import run_lambda
from realtime.serving.tokens import Grant, Tokens
from tests.server.conftest import SOURCE
from tests.server.running import Running, running, until
from tests.serving.plans import deploy, param, plan, spec

VISITOR = param("visitor", "VARCHAR")
MINE = spec("mine", "SELECT {visitor:String} AS v", [VISITOR], [("v", "VARCHAR")])
KEPT = spec(
    "kept",
    "SELECT {visitor:String} AS v, generateUUIDv4() AS id",
    [VISITOR],
    [("v", "VARCHAR"), ("id", "UUID")],
    cache_seconds=3600.0,
)
OTHER = spec("other", "SELECT 1 AS n", [], [("n", "INTEGER")])
ORIGIN = "https://shop.test"


@pytest.fixture(scope="module")
def tokens(clickhouse: ClickHouse) -> Iterator[Tokens]:
    database = "guarded"
    Ledger(clickhouse, database).create()
    deploy(clickhouse, plan(database, [MINE, KEPT, OTHER], [SOURCE]))
    yield Tokens(clickhouse, database)
    clickhouse.execute(f"DROP DATABASE {database}_duet SYNC")


@pytest.fixture(scope="module")
def server(endpoint: Endpoint, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    with running(endpoint, tokens.database, folder, DUET_CORS_ORIGINS=f"{ORIGIN}, https://other.test") as found:
        yield found


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def made(tokens: Tokens, server: Running, grant: Grant) -> dict[str, str]:
    """A token that the server knows."""
    headers = bearer(tokens.create(grant))
    until(lambda: server.ask("/v1/lambdas/none").status == 401, 5)
    until(lambda: server.ask("/v1/lambdas/none", headers=headers).status != 401, 5)
    return headers


def test_open_until_there_is_a_token_and_again_after_all_are_cleared(tokens: Tokens, server: Running) -> None:
    assert server.ask("/v1/lambdas/other").status == 200
    made(tokens, server, Grant("first", run=("*",)))
    refused = server.ask("/v1/lambdas/other")
    assert (refused.status, refused.error["code"]) == (401, "unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"
    tokens.revoke("first")
    assert server.ask("/v1/lambdas/other").status == 401
    tokens.clear()
    until(lambda: server.ask("/v1/lambdas/other").status == 200, 5)


def test_each_is_for_what_it_says(tokens: Tokens, server: Running) -> None:
    runs = made(tokens, server, Grant("runs", run=("other",)))
    ingests = made(tokens, server, Grant("ingests", ingest=("chat.messages",)))
    reads = made(tokens, server, Grant("reads", admin=True))
    asked: list[tuple[str, Mapping[str, str], int]] = [
        ("/v1/lambdas/other", runs, 200),
        ("/v1/lambdas/other.csv", runs, 200),
        (f"/v1/lambdas/other/versions/{OTHER.version}.ndjson", runs, 200),
        ("/v1/lambdas/mine?visitor=a", runs, 403),
        ("/v1/lambdas/mine/tags/production?visitor=a", runs, 403),
        ("/v1/lambdas", runs, 403),
        ("/v1/lambdas/other/definition", runs, 403),
        ("/v1/lambdas/other/definition", reads, 200),
        ("/v1/lambdas/other/tags/definition", reads, 403),
        ("/console/console.js", {}, 200),
        ("/console/none", {}, 404),
        ("/metrics", runs, 403),
        ("/openapi.json", runs, 403),
        ("/v1/lambdas/other", ingests, 403),
        ("/v1/lambdas/other", reads, 403),
        ("/v1/lambdas", reads, 200),
        ("/metrics", reads, 200),
        ("/openapi.json", reads, 200),
        ("/healthz", {}, 200),
        ("/docs", {}, 200),
        ("/metrics", {}, 401),
        ("/v1/lambdas/other", bearer("duet_000000000000_x"), 401),
        ("/v1/lambdas/other", {"Authorization": "Basic eDp5"}, 401),
        ("/nothing", {}, 401),
    ]
    assert [(path, server.ask(path, headers=h).status) for path, h, _ in asked] == [(p, s) for p, _, s in asked]
    assert server.ask("/v1/events/chat.messages", b"", headers=runs).status == 403
    assert server.ask("/v1/events/chat.messages", b"{", headers=ingests).status != 403
    assert server.ask("/v1/events/chat.other", b"", headers=ingests).status == 403
    tokens.clear()


def test_commands_send_a_token(tokens: Tokens, server: Running, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}"
    secret = made(tokens, server, Grant("commands", run=("other",), ingest=("chat.messages",)))[
        "Authorization"
    ].split()[1]
    assert run_lambda(url, "other", {})[0] == 401
    assert run_lambda(url, "other", {}, token=secret)[0] == 200
    rows = tmp_path / "rows.ndjson"
    rows.write_text('{"id": "1"}')
    with pytest.raises(DuetError, match="a token is needed"):
        load(url, SOURCE, [rows], lambda done, total: None)
    with pytest.raises(DuetError) as refused:
        load(url, SOURCE, [rows], lambda done, total: None, secret)
    assert "a token is" not in str(refused.value)  # it came as far as the landing table, which this test has not
    tokens.clear()


def test_a_fixed_parameter_can_not_be_evaded(tokens: Tokens, server: Running) -> None:
    mine = made(tokens, server, Grant("visitor", run=("*",), fixed={"visitor": "v1"}))
    assert server.ask("/v1/lambdas/mine", headers=mine).json["data"] == [{"v": "v1"}]
    assert server.ask("/v1/lambdas/mine", {}, headers=mine).json["data"] == [{"v": "v1"}]
    for answer in (
        server.ask("/v1/lambdas/mine", headers=mine, visitor="v2"),
        server.ask("/v1/lambdas/mine", headers=mine, visitor="v1"),
        server.ask("/v1/lambdas/mine?%76isitor=v2", headers=mine),
        server.ask("/v1/lambdas/mine", {"visitor": "v2"}, headers=mine),
        server.ask("/v1/lambdas/mine?visitor=v2", {"visitor": None}, headers=mine),
        server.ask("/v1/lambdas/other", headers=mine),
    ):
        assert (answer.status, answer.error["code"]) == (403, "forbidden")
    tokens.clear()


def test_a_rate_and_an_end(tokens: Tokens, server: Running) -> None:
    slow = made(tokens, server, Grant("slow", run=("*",), rate=0.5))
    until(lambda: server.ask("/v1/lambdas/other", headers=slow).status == 200, 5)
    refused = server.ask("/v1/lambdas/other", headers=slow)
    assert (refused.status, refused.error["code"]) == (429, "rate_limited")
    assert refused.headers["x-ratelimit-limit"] == "1"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    fast = server.ask("/v1/lambdas/other", headers=made(tokens, server, Grant("fast", run=("*",), rate=100)))
    assert (fast.status, fast.headers["x-ratelimit-limit"]) == (200, "100")
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    brief = made(tokens, server, Grant("brief", run=("*",), expires=soon.isoformat()))
    assert server.ask("/v1/lambdas/other", headers=brief).status == 200
    until(lambda: server.ask("/v1/lambdas/other", headers=brief).status == 401, 5)
    assert "expired at" in server.ask("/v1/lambdas/other", headers=brief).error["message"]
    tokens.clear()


def test_a_new_secret_for_the_same_grants(tokens: Tokens, server: Running, clickhouse: ClickHouse) -> None:
    old = made(tokens, server, Grant("app", run=("other",)))
    new = tokens.rotate("app", hours=4 / 3600)
    until(lambda: server.ask("/v1/lambdas/other", headers=bearer(new)).status == 200, 3)
    assert server.ask("/v1/lambdas/other", headers=old).status == 200
    until(lambda: server.ask("/v1/lambdas/other", headers=old).status == 401, 8)
    assert server.ask("/v1/lambdas/other", headers=bearer(new)).status == 200
    assert {t.grant.run for t in tokens.all()} == {("other",)}
    kept = clickhouse.rows(f"SELECT * FROM {tokens.database}_duet.tokens")
    assert not any(secret in str(kept) for secret in (old["Authorization"].split()[1], new))
    with pytest.raises(NotFoundError, match="there is no token nobody"):
        tokens.revoke("nobody")
    tokens.clear()


def test_pages_of_named_origins_may_call(tokens: Tokens, server: Running) -> None:
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    runs = made(tokens, server, Grant("page", run=("other",)))
    preflight = server.ask("/v1/lambdas/other", method="OPTIONS", headers=asks)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    answer = server.ask("/v1/lambdas/other", headers={**runs, "Origin": ORIGIN})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    refused = server.ask("/v1/lambdas/other", headers={"Origin": ORIGIN})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    stranger = server.ask("/v1/lambdas/other", headers={**runs, "Origin": "https://elsewhere.test"})
    assert "access-control-allow-origin" not in stranger.headers
    line = next(line for line in reversed(server.lines("request")) if line["status"] == 401)
    assert line["error"] == "unauthorized"
    tokens.clear()


def test_a_bucket_fills_again() -> None:
    from realtime.serving.tokens import Bucket

    bucket = Bucket(1000)
    taken = [bucket.take() for _ in range(1001)]
    assert taken[:1000] == [0] * 1000
    assert math.isclose(taken[-1], 0.001, abs_tol=0.001)


def test_a_kept_answer_is_that_of_the_fixed_parameters(tokens: Tokens, server: Running) -> None:
    callers = [made(tokens, server, Grant(f"kept-{v}", run=("*",), fixed={"visitor": v})) for v in ("a", "b", "a")]
    first, second, third = (server.ask("/v1/lambdas/kept", headers=c).json["data"][0] for c in callers)
    assert [row["v"] for row in (first, second, third)] == ["a", "b", "a"]
    assert first == third  # one answer, since both may see just this
    tag = server.ask("/v1/lambdas/kept", headers=callers[0]).headers["etag"]
    for caller, status in zip(callers, (304, 200, 304), strict=True):
        assert server.ask("/v1/lambdas/kept", headers={**caller, "If-None-Match": tag}).status == status
    for name in ("kept-a", "kept-b"):
        for token in [t for t in tokens.all() if t.grant.name == name]:
            tokens.revoke(token.id)
    tokens.clear()
    until(lambda: server.ask("/v1/lambdas/other").status == 200, 5)
