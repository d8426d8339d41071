"""The generated Python client: right by mypy and ruff, and against the real server."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import importlib.util
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.clients.python import python_client
from realtime.planner.ir import Plan
from realtime.transpile.types import duck_type
from tests.server.running import Running, running
from tests.serving.plans import deploy, paged, param, plan, spec

TYPES = {
    "small": "TINYINT", "big": "BIGINT", "huge": "HUGEINT", "x": "DOUBLE", "single": "FLOAT", "price": "DECIMAL(38,10)",
    "flag": "BOOLEAN", "text": "VARCHAR", "doc": "JSON", "day": "DATE", "at": "TIMESTAMP", "millis": "TIMESTAMP_MS",
    "zoned": "TIMESTAMP WITH TIME ZONE", "id": "UUID", "texts": "VARCHAR[]", "days": "DATE[]", "lists": "VARCHAR[][]",
    "prices": "DECIMAL(10,2)[]",
}  # fmt: skip
ECHO = ", ".join(f"{{{name}:{duck_type(kind).clickhouse}}} AS {name}" for name, kind in TYPES.items())
ODD = "SELECT {from:String} AS `class`, {self:Nullable(Int64)} AS `a b`, {dt:Nullable(Date32)} AS dt, 1 AS `größe`"
LAMBDAS = (
    spec("kinds", f"SELECT {ECHO}", [param(n, k, required=False) for n, k in TYPES.items()], list(TYPES.items()),
         description='Says "what" it got: \\N, \\d.\n\nIn two paragraphs.'),
    spec("class", ODD, [param("from", "VARCHAR"), param("self", "BIGINT", default=7, required=False),
                        param("dt", "DATE", required=False)],
         [("class", "VARCHAR"), ("a b", "BIGINT"), ("dt", "DATE"), ("größe", "BIGINT")]),
    *(spec(name, f"SELECT '{name}' AS json", [], [("json", "VARCHAR")])
      for name in ("json", "int", "close", "größe", "Json")),
    spec("chosen", "SELECT {word:Nullable(String)} AS word, {n:Int32} AS n, {t:DateTime64(6, 'UTC')} AS t",
         [param("word", "VARCHAR", default="b", enum=("a", "b")), param("n", "INTEGER", enum=(1, 2)),
          param("t", "TIMESTAMP", default="2024-05-01T12:00:00.5")],
         [("word", "VARCHAR"), ("n", "INTEGER"), ("t", "TIMESTAMP")]),
    spec("numbers", "SELECT number AS n FROM numbers({count:UInt64})", [param("count", "BIGINT")], [("n", "UBIGINT")]),
    paged("paged", 3),
)  # fmt: skip
USE = """
import datetime as dt
from decimal import Decimal
from shown import AsyncShownClient, ClassRow, LambdaError, Page, PagedRow, ShownClient

with ShownClient("http://127.0.0.1:1", "token", tag="production", timeout=1.5, retries=0) as client:
    rows: list[ClassRow] = client.class_(from_="a", self_=1, dt_=dt.date(2024, 1, 1))
    price: Decimal | None = client.kinds(price=Decimal("1.5"), texts=["a"], days=[], lists=[["a"]], prices=[])[0].price
    at: dt.datetime | None = client.chosen(n=2, word="a")[0].t
    for number in client.iter_numbers(count=3):
        n: int | None = number.n
    page: Page[PagedRow] = client.paged(count=3, page_size=2)
    following: list[PagedRow] = client.paged(count=3, page_size=2, cursor=page.next_cursor)
    n = [row.n for row in client.iter_paged(count=3)][0]


async def main() -> dt.date | None:
    async with AsyncShownClient() as client:
        async for number in client.iter_numbers(count=3):
            print(number.n)
        return (await client.class_(from_="a"))[0].dt_
"""
WRONG = """
from shown import ShownClient

ShownClient().chosen(n=3)
ShownClient().class_()
ShownClient().numbers(count="3")
"""


@pytest.fixture(scope="module")
def deployed() -> Plan:
    return plan(f"g{uuid.uuid4().hex[:12]}", LAMBDAS)


@pytest.fixture(scope="module")
def module(deployed: Plan, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The generated module, imported."""
    file = tmp_path_factory.mktemp("generated") / "shown.py"
    file.write_text(python_client(deployed), encoding="utf-8")
    found = importlib.util.spec_from_file_location("shown", file)
    assert found is not None
    assert found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    sys.modules["shown"] = loaded  # as dataclasses look it up
    found.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def server(
    endpoint: Endpoint, clickhouse: ClickHouse, deployed: Plan, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    deploy(clickhouse, deployed)
    with running(endpoint, deployed.database, tmp_path_factory.mktemp("server")) as found:
        yield found
    clickhouse.execute(f"DROP DATABASE {deployed.database}_duet SYNC")


@pytest.fixture(scope="module")
def client(module: ModuleType, server: Running) -> Iterator[Any]:
    with module.ShownClient(f"http://127.0.0.1:{server.port}") as found:
        yield found


def tool(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)


def test_it_is_the_same_each_time_and_mypy_and_ruff_find_nothing(deployed: Plan, tmp_path: Path) -> None:
    text = python_client(deployed)
    assert text == python_client(plan("elsewhere", LAMBDAS[::-1]))
    (tmp_path / "shown.py").write_text(text, encoding="utf-8")
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "wrong.py").write_text(WRONG)
    strict = ("mypy", "--strict", "--config-file=", "--cache-dir=.mypy")
    assert tool(tmp_path, *strict, "shown.py", "use.py").stdout == "Success: no issues found in 2 source files\n"
    assert tool(tmp_path, *strict, "wrong.py").stdout.count("error:") == 3
    for check in (("check",), ("format", "--check", "--line-length", "120")):
        done = tool(tmp_path, "ruff", *check, "--isolated", "shown.py")
        assert done.returncode == 0, done.stdout


def test_every_type_comes_back_as_it_went(client: Any) -> None:
    given = {
        "small": -128, "big": 2**63 - 1, "huge": -(2**127), "x": 0.1, "single": 1.5,
        "price": Decimal("-1234567890.0123456789"), "flag": False, "text": "é'\\\t\0 {x}", "doc": '{"a": [1.0]}',
        "day": dt.date(1900, 1, 1), "at": dt.datetime(2024, 5, 1, 14, 0, 0, 1, dt.timezone(dt.timedelta(hours=2))),
        "millis": dt.datetime(1969, 12, 31, 23, 59, 59, 999000, dt.UTC),
        "zoned": dt.datetime(2299, 1, 1, tzinfo=dt.UTC), "id": uuid.UUID(int=1), "texts": ["a", None, ""],
        "days": [dt.date(2024, 2, 29), None], "lists": [[], ["x", None]], "prices": [Decimal("0.10"), None],
    }  # fmt: skip
    [row] = client.kinds(**given)
    assert dataclasses.asdict(row) == given
    assert [type(v) for v in dataclasses.asdict(row).values()] == [type(v) for v in given.values()]
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.small = 1
    nothing: dict[str, Any] = {"texts": [], "days": (), "lists": [], "prices": []}
    [row] = client.kinds(**nothing)
    assert all(not value for value in dataclasses.asdict(row).values())
    [row] = client.kinds(**nothing, at=dt.datetime(2024, 5, 1, 12))  # without a zone it is UTC
    assert row.at == dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


def test_names_that_python_has_not(client: Any, module: ModuleType) -> None:
    [row] = client.class_(from_="x", dt_=dt.date(2024, 1, 1))
    assert row == module.ClassRow(class_="x", a_b=7, dt_=dt.date(2024, 1, 1), größe=1)
    assert client.class_(from_="x", self_=None)[0].a_b is None
    found = [getattr(client, name)()[0].json for name in ("json", "int_", "close_", "größe", "Json")]
    assert found == ["json", "int", "close", "größe", "Json"]


def test_defaults_and_closed_lists(client: Any) -> None:
    [row] = client.chosen(n=1)
    assert (row.word, row.n, row.t) == ("b", 1, dt.datetime(2024, 5, 1, 12, 0, 0, 500000, dt.UTC))


def test_rows_one_after_the_other(client: Any) -> None:
    assert [row.n for row in client.iter_numbers(count=5)] == list(range(5))
    assert [row.n for row in client.numbers(count=5)] == list(range(5))
    for row in client.iter_numbers(count=50_000):
        if row.n == 3:
            break
    assert client.numbers(count=1)


def test_in_an_event_loop(module: ModuleType, server: Running) -> None:
    async def main() -> None:
        async with module.AsyncShownClient(f"http://127.0.0.1:{server.port}") as client:
            found = await asyncio.gather(*(client.numbers(count=n) for n in range(20)))
            assert [len(rows) for rows in found] == list(range(20))
            assert [row.n async for row in client.iter_numbers(count=3)] == [0, 1, 2]
            with pytest.raises(module.LambdaError, match="bad_request"):
                await client.numbers(count=-1)

    asyncio.run(main())


def test_what_the_server_refuses(client: Any, module: ModuleType, server: Running) -> None:
    with pytest.raises(module.LambdaError) as refused:
        client.numbers(count="three")
    error = refused.value
    assert (error.status, error.code, error.details["parameter"]) == (400, "bad_request", "count")
    assert "expected is a whole number" in error.message
    assert error.request_id
    with (
        pytest.raises(module.LambdaError) as refused,
        module.ShownClient(f"http://127.0.0.1:{server.port}", tag="none") as tagged,
    ):
        next(tagged.iter_numbers(count=1))
    assert refused.value.code == "not_found"
    with module.ShownClient(f"http://127.0.0.1:{server.port}", pinned=True) as pinned:
        assert len(pinned.numbers(count=2)) == 2
    with module.ShownClient("http://127.0.0.1:1", retries=1) as lost, pytest.raises(module.UnreachableError):
        lost.numbers(count=1)


class Busy(BaseHTTPRequestHandler):
    """A server that is busy, then closes the connection, then answers; it says nothing of what it is asked."""

    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(self.headers.get("Authorization", ""))
        self.close_connection = True
        if len(self.seen) == 2:
            return
        body = b'{"data": [{"n": 18446744073709551615}]}'
        if len(self.seen) == 1:
            body = b'{"error": {"code": "overloaded", "message": "busy", "details": {}}, "request_id": "r"}'
        self.send_response(429 if len(self.seen) == 1 else 200)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_it_tries_again(module: ModuleType) -> None:
    for retries in (0, 5):
        Busy.seen = []
        with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as busy:
            threading.Thread(target=busy.serve_forever, daemon=True).start()
            with module.ShownClient(f"http://127.0.0.1:{busy.server_port}", "secret", retries=retries) as client:
                if retries:
                    assert client.numbers(count=1)[0].n == 2**64 - 1
                    assert Busy.seen == ["Bearer secret"] * 3
                else:
                    with pytest.raises(module.LambdaError, match="overloaded"):
                        client.numbers(count=1)
            busy.shutdown()


def test_pages(client: Any, module: ModuleType, server: Running) -> None:
    page = client.paged(count=7)
    assert [row.n for row in page] == [0, 1, 2]
    following = client.paged(count=7, page_size=4, cursor=page.next_cursor)
    assert ([row.n for row in following], following.next_cursor) == ([3, 4, 5, 6], None)
    assert [row.n for row in client.iter_paged(count=7, page_size=2)] == list(range(7))
    assert [row.n for row in client.iter_paged(count=7, cursor=page.next_cursor)] == [3, 4, 5, 6]

    async def all_of() -> list[int]:
        async with module.AsyncShownClient(f"http://127.0.0.1:{server.port}") as found:
            assert (await found.paged(count=1)).next_cursor is None
            return [row.n async for row in found.iter_paged(count=7)]

    assert asyncio.run(all_of()) == list(range(7))
