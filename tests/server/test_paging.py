"""Pages over HTTP: followed by links and cursors, while rows come in, versions move, and callers make cursors up."""

from __future__ import annotations

import base64
import concurrent.futures
import csv
import datetime as dt
import io
import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # the same
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.deploy.ledger import Ledger
from realtime.planner.ir import Plan
from realtime.serving.tokens import Grant, Tokens
from tests.planner.small import Declared, Deployed, planned, project, unique
from tests.planner.test_lambdas import written
from tests.server.running import Answer, Running, running, until
from tests.serving.plans import deploy

NOON = dt.datetime(2018, 5, 2, 12)
SOURCES = {
    "app.events": Declared(
        {"id": "VARCHAR", "k": "VARCHAR", "n": "BIGINT", "seen_at": "TIMESTAMP", "price": "DECIMAL(10,2)", "u": "UUID"},
        not_null=("id", "k", "seen_at"),
    )
}
MODELS = {"staged": "select * from {{ source('app', 'events') }}"}
OF_K = """
select id, n, seen_at, price, u, seen_at::date as day, n::hugeint as h, n::double as f, seen_at > {{ as_of() }} as late
from {{ ref('staged') }} where k = {{ param('k', 'varchar') }} and seen_at <= {{ as_of() }}
order by n desc, id
"""
ALL = "select id, n from {{ ref('staged') }} order by n, id"
TWICE = "select id as twice, n from {{ ref('staged') }} order by id"
PATH = "/v1/lambdas/of_k"


def plan_of(database: str, of_k: str = OF_K) -> Plan:
    queries = {"of_k": written(of_k), "all_of": written(ALL), "twice": written(TWICE)}
    built = project(SOURCES, MODELS, queries=queries, examples={"paging": {"size": 4, "max": 100}},
                    tests=[unique("source.t.app.events", "id")])  # fmt: skip
    plan = planned(built, database)
    kept = [s if s.name != "all_of" else msgspec.structs.replace(s, cache_seconds=3600.0) for s in plan.lambdas]
    return msgspec.structs.replace(plan, lambdas=tuple(kept))


def _n(text: str) -> int:
    return sum(map(ord, text)) % 5


class Shop:
    """A database with the lambdas, and a server."""

    def __init__(self, deployed: Deployed, server: Running) -> None:
        self.deployed, self.server = deployed, server

    def insert(self, k: str, ids: list[str], n: int | None = None, at: dt.datetime = NOON) -> None:
        rows = [
            {"id": i, "k": k, "n": _n(i) if n is None else n, "seen_at": at, "price": "1.50", "u": uuid.UUID(int=5)}
            for i in ids
        ]  # fmt: skip
        self.deployed.insert({"app.events": rows}, 1)

    def get(self, path: str = PATH, **query: Any) -> Answer:
        return self.server.ask(path, **query)

    def ids(self, cursor: str | None, k: str, **given: Any) -> list[str]:
        """The ids of the page at ``cursor`` and of all that follow."""
        found: list[str] = []
        while cursor is not None:
            page = self.server.ask(PATH, {"k": k, "cursor": cursor, **given})
            assert page.status == 200, page.body
            found += [row["id"] for row in page.json["data"]]
            cursor = page.json["next_cursor"]
        return found


@pytest.fixture(scope="module")
def shop(endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    database = f"p{uuid.uuid4().hex[:12]}"
    plan = plan_of(database)
    deployed = Deployed(plan, clickhouse)
    Ledger(clickhouse, database).create()
    deploy(clickhouse, plan)
    with running(endpoint, database, tmp_path_factory.mktemp("paging")) as server:
        yield Shop(deployed, server)
    for suffix in ("", "_raw", "_state", "_duet"):
        clickhouse.execute(f"DROP DATABASE {database}{suffix} SYNC")


@pytest.mark.parametrize("suffix", ["json", "ndjson", "csv", "arrow", "parquet"])
def test_a_link_leads_to_the_next_page(shop: Shop, suffix: str) -> None:
    k = f'a&b=<>"{suffix}'
    ids = [f"{i}{mark}" for i in range(9) for mark in (',"~41"\n', "ä'")]
    shop.insert(k, ids)
    found, query = list[str](), {"k": k, "page_size": 5}
    page = shop.get(f"{PATH}.{suffix}", **query)
    sizes = []
    while True:
        read = _ids(page, suffix)
        sizes.append(len(read))
        found += read
        if "link" not in page.headers:
            break
        assert page.headers["link"].endswith(f'cursor={page.headers["x-next-cursor"]}>; rel="next"')
        page = shop.get(f"{PATH}.{suffix}{page.headers['link'].split('>')[0].lstrip('<')}")
    assert "x-next-cursor" not in page.headers
    assert sizes == [5, 5, 5, 3]
    assert found == sorted(ids, key=lambda i: (-(_n(i)), i.encode()))


def _ids(page: Answer, suffix: str) -> list[str]:
    assert page.status == 200, page.body
    if suffix == "json":
        assert page.json["next_cursor"] == page.headers.get("x-next-cursor")
        return [row["id"] for row in page.json["data"]]
    if suffix == "ndjson":
        return [json.loads(line)["id"] for line in page.body.split(b"\n")[:-1]]
    if suffix == "csv":
        return [row["id"] for row in csv.DictReader(io.StringIO(page.body.decode(), newline=""))]
    found: list[str] = _table(page.body, suffix).column("id").to_pylist()
    return found


def _table(body: bytes, suffix: str) -> Any:
    return pa.ipc.open_stream(body).read_all() if suffix == "arrow" else pq.read_table(pa.BufferReader(body))


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_types_of_files_are_those_of_clickhouse(shop: Shop, suffix: str) -> None:
    k = f"typed-{suffix}"
    shop.insert(k, ["a", "b", "c"])
    page = shop.get(f"{PATH}.{suffix}", k=k, page_size=2)
    spec = next(s for s in shop.deployed.plan.lambdas if s.name == "of_k")
    sql = spec.select.replace("LIMIT {__duet_rows: UInt64}", "LIMIT 2")
    form = {"arrow": "ArrowStream", "parquet": "Parquet"}[suffix]
    wanted = shop.deployed.client.bytes(
        f"{sql}, output_format_arrow_string_as_string = 1 FORMAT {form}", {"k": k, "as_of": "2030-01-01 00:00:00"}
    )
    assert _table(page.body, suffix).equals(_table(wanted, suffix).drop_columns(["__duet_place"]))


def test_rows_that_come_between_pages_take_none_away_and_none_twice(shop: Shop) -> None:
    chance, k = random.Random(5), "moving"
    there = [f"t{i:03}" for i in range(60)]
    shop.insert(k, there)
    seen, cursor, number = list[str](), "", 0
    page = shop.get(k=k, page_size=3, as_of="2018-05-03T00:00:00Z")
    while True:
        seen += [row["id"] for row in page.json["data"]]
        cursor = page.json["next_cursor"]
        if cursor is None:
            break
        number += 1
        shop.insert(k, [f"n{chance.randrange(10**6)}" for _ in range(4)], n=chance.randrange(5))
        page = shop.get(k=k, page_size=3 + number % 4, as_of="2018-05-03T00:00:00Z", cursor=cursor)
    assert len(seen) == len(set(seen))
    assert [i for i in seen if i.startswith("t")] == sorted(there, key=lambda i: (-(_n(i)), i))


def test_pages_are_of_one_moment(shop: Shop) -> None:
    k, now = "moment", dt.datetime.now(dt.UTC).replace(tzinfo=None)
    shop.insert(k, ["a", "b", "c", "d"], n=1)
    page = shop.get(k=k, page_size=2)
    shop.insert(k, ["later"], n=0, at=dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(milliseconds=1))
    shop.insert(k, ["earlier"], n=0, at=now - dt.timedelta(hours=1))
    until(lambda: len(shop.get(k=k).json["data"]) == 4 and shop.get(k=k, n=0).status == 400)
    until(lambda: "later" in {row["id"] for row in shop.get(k=k, page_size=50).json["data"]})
    assert shop.ids(page.json["next_cursor"], k) == ["c", "d", "earlier"]


def test_a_cursor_is_for_the_same_parameters_only(shop: Shop) -> None:
    shop.insert("one", list("abcdef"))
    shop.insert("two", list("ghijkl"))
    cursor = shop.get(k="one").json["next_cursor"]
    given = shop.get(k="one", as_of="2018-05-02T13:00:00Z").json["next_cursor"]
    assert len(shop.ids(cursor, "one")) == 2
    assert len(shop.ids(given, "one", as_of="2018-05-02T13:00:00Z")) == 2
    for query in (
        {"k": "two", "cursor": cursor},
        {"k": "one", "cursor": cursor, "as_of": "2018-05-02T13:00:00Z"},
        {"k": "one", "cursor": given},
        {"k": "one", "cursor": given, "as_of": "2018-05-02T13:00:01Z"},
    ):
        answer = shop.get(**query)
        assert answer.status == 400
        assert "the cursor is of a call with other parameters" in answer.error["message"]
        assert answer.error["details"]["parameter"] == "cursor"
    other = shop.get("/v1/lambdas/twice", cursor=cursor)
    assert other.status == 410
    for size in ("0", "101", "x", ""):
        assert shop.get(k="one", page_size=size).status == 400
    twice = shop.server.ask(f"{PATH}?cursor={cursor}", {"k": "one", "cursor": cursor})
    assert twice.status == 400
    assert "query string and in the body" in twice.error["message"]


def _made(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()


def test_a_cursor_that_is_made_up_is_refused(shop: Shop) -> None:
    shop.insert("made", list("abcdef"), n=1)
    page = shop.get(k="made", page_size=3)
    cursor = page.json["next_cursor"]
    version, digest, carried, texts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    wrong = [
        "", "x", "é", "=" * 5, "A" * 5000, cursor[:-1], cursor + "A", _made(1), _made(version, digest),
        _made(version, digest, carried, texts[:2]), _made(version, digest, carried, [*texts, "a"]),
        _made(version, digest, not carried, texts), _made(version, "0" * 16, carried, texts),
        _made(version, digest, carried, [texts[0], "1 or 1=1", texts[2]]),
        _made(version, digest, carried, [texts[0], str(2**63), texts[2]]),
        _made(version, digest, carried, [texts[0], "1", "\ud800"]),
        _made(version, digest, carried, [None, "1", "a"]), _made(version, digest, carried, ["now()", "1", "a"]),
        _made(version, digest, carried, ["2018-05-02", 1, "a"]), _made(version, digest, 2, texts),
    ]  # fmt: skip
    for given in wrong:
        answers = [shop.get(k="made", cursor=given), shop.server.ask(PATH, {"k": "made", "cursor": given})]
        assert [a.status for a in answers] == [400, 400], (given, answers)
        assert answers[0].error["details"]["parameter"] == "cursor"
    for given in (5, ["a"], {"a": 1}, True):
        assert shop.server.ask(PATH, {"k": "made", "cursor": given}).status == 400
    # A place that is none of a row's is a place all the same: what comes after it, of the caller's own rows.
    assert shop.ids(_made(version, digest, carried, [texts[0], "1", "e' or 1=1 --"]), "made") == ["f"]
    assert shop.ids(_made(version, digest, carried, [texts[0], None, "\t\x00\\"]), "made") == []
    assert shop.get(k="made", cursor=_made("f" * 12, digest, carried, texts)).status == 410


def test_a_page_does_not_end_between_rows_that_are_alike(shop: Shop) -> None:
    shop.insert("tied", ["a", "b", "b", "c"], n=1)
    assert [row["id"] for row in shop.get(k="tied", page_size=3).json["data"]] == ["a", "b", "b"]
    answer = shop.get(k="tied", page_size=2)
    assert (answer.status, answer.error["code"]) == (422, "page")
    assert "two rows are alike in n desc, id" in answer.error["message"]
    long = [f"{'x' * 4000}{i}" for i in range(3)]
    shop.insert("long", long, n=1)
    assert shop.get(k="long", page_size=3).status == 200
    assert "too long for a cursor" in shop.get(k="long", page_size=2).error["message"]


def test_a_tag_of_rows_tells_whether_a_page_follows(shop: Shop) -> None:
    shop.insert("etag", ["a", "b"], n=1)
    first = shop.get(k="etag", page_size=2)
    known = {"If-None-Match": first.headers["etag"]}
    assert shop.server.ask(PATH, headers=known, k="etag", page_size=2).status == 304
    shop.insert("etag", ["c"], n=1)
    second = shop.server.ask(PATH, headers=known, k="etag", page_size=2)
    assert (second.status, second.json["data"]) == (200, first.json["data"])
    again = shop.server.ask(PATH, headers={"If-None-Match": second.headers["etag"]}, k="etag", page_size=2)
    assert again.status == 304
    assert shop.ids(again.headers["x-next-cursor"], "etag") == ["c"]


def test_calls_at_once_have_cursors_of_their_own(shop: Shop) -> None:
    for k in range(40):
        shop.insert(f"at{k}", [f"{k}-{i}" for i in range(k % 7)], n=k)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        pages = list(pool.map(lambda k: shop.get(k=f"at{k}", page_size=3), range(40)))
    for k, page in enumerate(pages):
        rest = shop.ids(page.json["next_cursor"], f"at{k}")
        assert [row["id"] for row in page.json["data"]] + rest == [f"{k}-{i}" for i in range(k % 7)]
    lines = [line for line in shop.server.lines("request") if line.get("lambda") == "of_k"]
    assert max(line.get("batch", 0) for line in lines) > 1


def test_a_kept_answer_has_the_cursor_that_it_was_given_with(shop: Shop) -> None:
    shop.insert("kept", ["kept1", "kept2"], n=-1000)
    path = "/v1/lambdas/all_of"
    first = shop.get(path, page_size=1)
    assert first.json["data"] == [{"id": "kept1", "n": -1000}]
    shop.insert("kept", ["kept0"], n=-2000)
    again = shop.get(path, page_size=1)
    assert "age" in again.headers
    assert again.json["next_cursor"] == first.json["next_cursor"]
    following = shop.get(path, page_size=1, cursor=again.json["next_cursor"])
    assert following.json["data"] == [{"id": "kept2", "n": -1000}]


def test_pages_stay_with_their_version_when_latest_moves(shop: Shop, clickhouse: ClickHouse) -> None:
    shop.insert("version", list("abcdef"), n=1)
    page = shop.get(k="version", page_size=2)
    old = page.headers["x-lambda-version"]
    moved = plan_of(shop.deployed.plan.database, OF_K.replace("order by n desc, id", "order by id desc, n"))
    deploy(clickhouse, moved)
    until(lambda: shop.get(k="version").headers["x-lambda-version"] != old)
    following = shop.get(k="version", page_size=2, cursor=page.json["next_cursor"])
    assert following.headers["x-lambda-version"] == old
    assert [row["id"] for row in following.json["data"]] == ["c", "d"]
    new = shop.get(k="version").headers["x-lambda-version"]
    for version, status in ((old, 200), (new, 400)):
        answer = shop.get(f"{PATH}/versions/{version}", k="version", cursor=page.json["next_cursor"])
        assert answer.status == status
    assert "the cursor is of another version" in answer.error["message"]
    deploy(clickhouse, shop.deployed.plan)
    until(lambda: shop.get(k="version").headers["x-lambda-version"] == old)


def test_what_a_token_fixes_stays_fixed(
    shop: Shop, endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop.insert("seller1", list("abcdef"), n=1)
    shop.insert("seller2", list("ghijkl"), n=1)
    tokens = Tokens(clickhouse, shop.deployed.plan.database)
    mine, other = (
        {"Authorization": f"Bearer {tokens.create(Grant(k, run=('of_k',), fixed={'k': k}))}"}
        for k in ("seller1", "seller2")
    )
    with running(endpoint, shop.deployed.plan.database, tmp_path_factory.mktemp("fixed")) as server:
        page = server.ask(PATH, headers=mine, page_size=2)
        assert "seller1" not in page.headers["link"]
        cursor = page.json["next_cursor"]
        stolen = server.ask(PATH, headers=other, cursor=cursor)
        assert (stolen.status, stolen.error["details"]["parameter"]) == (400, "cursor")
        assert server.ask(PATH, headers=mine, cursor=cursor, k="seller2").status == 403
        version, digest, carried, texts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        forged = _made(version, digest, carried, [texts[0], "9223372036854775807", ""])
        assert {row["id"] for row in server.ask(PATH, headers=mine, cursor=forged).json["data"]} == set("abcd")
    tokens.clear()
    until(lambda: shop.get(k="seller1").status == 200)


def test_the_description_tells_of_pages(shop: Shop) -> None:
    operation = shop.get("/openapi.json").json["paths"][PATH]
    names = {p["name"]: p for p in operation["get"]["parameters"]}
    assert names["page_size"]["schema"]["maximum"] == 100
    assert names["cursor"]["required"] is False
    answer = operation["get"]["responses"]["200"]
    assert {"X-Next-Cursor", "Link"} <= set(answer["headers"])
    schema = answer["content"]["application/json"]["schema"]
    assert schema["properties"]["next_cursor"]["type"] == ["string", "null"]
    assert "Pages of 4 rows, at most 100, by n desc, id." in operation["get"]["description"]
