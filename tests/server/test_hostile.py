"""Whatever is sent as a parameter: the answer is DuckDB's for that value, or the request is refused and says why.

Never a 500, never a word of a query, and the same asked alone and together with others.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import struct
import urllib.parse
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import aiohttp
import duckdb
import pytest
import yarl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.planner.ir import LambdaSpec
from realtime.transpile.types import Kind, duck_type
from tests.planner.small import Declared, Deployed, planned, project
from tests.planner.test_lambdas import written
from tests.server.running import Running, running
from tests.serving.plans import deploy
from tests.serving.test_parameters import GIVEN, HOSTILE

KINDS = {f"k{place}": kind for place, kind in enumerate(GIVEN)}
"""Column and lambda names by type."""
ROWS: dict[Kind, list[Any]] = {
    Kind.INTEGER: [0, 1, 127, None],
    Kind.FLOAT: [0.0, 1.5, -2.25, 16777216.0],
    Kind.DECIMAL: ["0.00", "12.340", "-0.010", None],
    Kind.BOOLEAN: [True, False, None, True],
    Kind.TEXT: ["", "a'b\\c\t\0", "日本 👩‍🚀", "' OR 1=1 --"],
    Kind.DATE: ["1900-01-01", "2024-02-29", "2299-12-31", None],
    Kind.TIMESTAMP: ["1900-01-01 00:00:00", "1969-12-31 23:59:59", "2024-02-29 12:30:00", None],
    Kind.TIMESTAMPTZ: ["1900-01-01 00:00:00Z", "1969-12-31 23:59:59Z", "2024-02-29 12:30:00Z", None],
    Kind.UUID: ["00000000-0000-0000-0000-000000000000", "550e8400-e29b-41d4-a716-446655440000", None, None],
}
COLUMNS = {name: kind for name, kind in KINDS.items() if duck_type(kind).kind in ROWS}
SEARCHED = {"VARCHAR[]": "VARCHAR", "BIGINT[]": "BIGINT", "DATE[]": "DATE", "TIMESTAMP[]": "TIMESTAMP"}

INJECTED = st.sampled_from(
    ["' UNION SELECT name FROM system.tables --", "'; DROP TABLE kept; --", "\\'", "{x:String}", "1) OR (1=1", "${x}",
     "%27%20OR%201", "x" * 3000, "NaN", "Infinity", "-0", "0x10", "1_000", "+1", " 1", "1e3", "1.0", "٣", "9" * 60,
     "1e999999999", "1e-999999999", "1e99999999999999999999", "-1e-99999999999999999999", "0e99"]
)  # fmt: skip
NUMBERS = st.integers() | st.integers(30, 400).map(lambda n: 10**n) | st.floats(allow_nan=False, allow_infinity=False)
ANY = st.recursive(
    st.none() | st.booleans() | NUMBERS | HOSTILE | INJECTED | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
RAW = st.sampled_from(
    [b'{"x":"\xff"}', b'{"x":"\\ud800"}', b'{"x":"\\udc00\\ud800"}', b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
     b"[1]", b'{"x":1e999999999}', b'{"x":1e-999999999}', b'{"x":' + b"9" * 6000 + b"}", b'{"x":1', b"\xef\xbb\xbf{}",
     b"null", b'{"x":NaN}', b'{"x":"\\u0000"}', b'{"y":1}', b'{"X":1}', b'{"x":1,"":2}', b"{}" * 2, b'{"x":-1E-0}']
) | st.binary(max_size=12)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Call:
    """A request to lambda ``name``: ``query`` is its query string as it is sent, ``body`` that of a POST.

    ``value`` is what ``x`` means, where that is a value at all (`clear`); ``valid`` says that it must be taken.
    """

    name: str
    query: str = ""
    body: bytes | None = None
    value: Any = None
    clear: bool = True
    valid: bool = False


def calls(name: str, kind: str) -> st.SearchStrategy[Call]:
    """Calls of ``name`` with values of type ``kind``, and with others."""
    wanted = duck_type(kind)
    known = st.sampled_from(ROWS.get(wanted.kind, [None]))
    taken = st.booleans().flatmap(lambda old: known if old else GIVEN[kind])
    valid = st.builds(lambda v: posted(name, v, valid=v is not None), taken)
    bodies = st.builds(lambda v: posted(name, v), ANY)
    raw = st.builds(lambda body: Call(name, body=body, value=_meant(body), clear=_meant(body) is not _UNCLEAR), RAW)
    text = st.builds(_bytes, ANY | taken) | st.binary(max_size=8)
    queries = st.lists(text, max_size=3).map(lambda texts: asked(name, texts, repeated=wanted.kind is Kind.LIST))
    return st.one_of(valid, valid, bodies, raw, queries)


def posted(name: str, value: Any, *, valid: bool = False) -> Call:
    return Call(name, body=json.dumps({"x": value}).encode(), value=value, valid=valid)


def asked(name: str, texts: Sequence[bytes], *, repeated: bool) -> Call:
    query = "&".join(f"x={urllib.parse.quote(text, safe='')}" for text in texts)
    try:
        found = [text.decode() for text in texts]
    except UnicodeDecodeError:
        return Call(name, query, clear=False)
    if repeated:
        return Call(name, query, value=found, clear=bool(found))
    return Call(name, query, value=found[0] if found else None, clear=len(found) < 2)


def _bytes(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


_UNCLEAR = object()


def _meant(body: bytes) -> Any:
    """What JSON's own library reads as ``x``, where it is an object of it."""
    try:
        found = json.loads(body, parse_float=Decimal) if body.strip() else {}
        return found.get("x") if isinstance(found, dict) and set(found) <= {"x"} else _UNCLEAR
    except (ValueError, RecursionError):
        return _UNCLEAR


class Served:
    """The server, and DuckDB over the same rows."""

    def __init__(self, server: Running, database: str, lambdas: Sequence[LambdaSpec], batch: Any) -> None:
        self.lambdas = {spec.name: spec for spec in lambdas}
        self._server, self._database, self._batch = server, database, batch
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()

    def ask(self, calls: Sequence[Call], callers: int) -> list[tuple[int, Any]]:
        """Status and content of each, so many asked at a time."""
        return self._runner.run(self._ask(calls, callers))

    async def _ask(self, calls: Sequence[Call], callers: int) -> list[tuple[int, Any]]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=callers)) as session:
            return await asyncio.gather(*(self._one(session, call) for call in calls))

    async def _one(self, session: aiohttp.ClientSession, call: Call) -> tuple[int, Any]:
        address = f"http://127.0.0.1:{self._server.port}/v1/lambdas/{call.name}?{call.query}"
        url = yarl.URL(address.rstrip("?"), encoded=True)
        async with session.get(url) if call.body is None else session.post(url, data=call.body) as answer:
            text = await answer.text()
            assert self._database not in text
            assert "DB::" not in text
            found = json.loads(text, parse_float=Decimal)
            return answer.status, found["data"] if answer.status == 200 else found["error"]

    def expected(self, call: Call) -> list[dict[str, Any]] | None:
        """DuckDB's rows; None where the value is none of the type."""
        spec = self.lambdas[call.name]
        try:
            rows = self._batch.execute(spec.batch, {"x": _text(call.value)}).fetchall()
        except (duckdb.Error, TypeError):
            return None
        return [dict(zip((c.name for c in spec.columns), row, strict=True)) for row in rows]


def _text(value: Any) -> Any:
    """A value as DuckDB casts it: a text, or a list of texts."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    if isinstance(value, dict):
        raise TypeError
    if isinstance(value, Decimal):
        return str(value)
    return value if isinstance(value, str) or value is None else json.dumps(value)


@pytest.fixture(scope="module")
def served(endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For each type a lambda that answers its parameter, and one that looks for it in a column."""
    database = f"h{uuid.uuid4().hex[:12]}"
    queries = {f"echo_{name}": f"select {_param(kind, 'false')} as x" for name, kind in KINDS.items()}
    for name, kind in COLUMNS.items():
        queries[f"find_{name}"] = f"select id, {name} as x from {_KEPT} where {name} = {_param(kind)} order by id"
    for name, kind in KINDS.items():
        if kind in SEARCHED:
            [column] = [c for c, k in COLUMNS.items() if k == SEARCHED[kind]]
            queries[f"find_{name}"] = (
                f"select id, {column} as x from {_KEPT} where list_contains({_param(kind)}, {column}) order by id"
            )
    source = Declared({"id": "varchar", **COLUMNS})
    built = project(
        {"app.kept": source}, {"kept": "select * from {{ source('app', 'kept') }}"},
        queries={name: written(sql) for name, sql in queries.items()},
    )  # fmt: skip
    plan = planned(built, database)
    rows = [{"id": f"r{i}"} | {n: ROWS[duck_type(k).kind][i] for n, k in COLUMNS.items()} for i in range(4)]
    Deployed(plan, clickhouse).insert({"app.kept": rows}, 0)
    deploy(clickhouse, plan)
    with running(endpoint, database, tmp_path_factory.mktemp("server")) as server, duckdb.connect() as batch:
        batch.execute("SET TimeZone = 'UTC'; SET threads = 1")
        typed = ", ".join(f'"{n}" {t}' for n, t in source.columns.items())
        batch.execute(f"CREATE TABLE kept ({typed})")
        batch.executemany(f"INSERT INTO kept VALUES ({', '.join('?' * len(source.columns))})", [
            [row.get(c) for c in source.columns] for row in rows])  # fmt: skip
        found = Served(server, database, plan.lambdas, batch)
        yield found
        found.close()
    for suffix in ("", "_raw", "_state", "_duet"):
        clickhouse.execute(f"DROP DATABASE IF EXISTS {database}{suffix} SYNC")


_KEPT = "{{ ref('kept') }}"


def _param(kind: str, required: str = "true") -> str:
    return f"{{{{ param('x', '{kind.lower()}', required={required}) }}}}"


def same(ours: Any, theirs: Any) -> bool:
    """Whether a JSON value is what DuckDB holds."""
    if theirs is None or isinstance(theirs, (bool, str)):
        return bool(ours == theirs) and type(ours) is type(theirs)
    if isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, dt.datetime):
        return dt.datetime.fromisoformat(ours).replace(tzinfo=None) == theirs.replace(tzinfo=None)
    if isinstance(theirs, float):  # the digits of a FLOAT are those that tell it from its neighbours
        return float(ours) == theirs or struct.unpack("f", struct.pack("f", ours))[0] == theirs
    return bool(ours == theirs) if isinstance(theirs, (int, Decimal)) else str(ours) == str(theirs)


def judge(served: Served, call: Call, status: int, found: Any) -> None:
    if status == 200:
        assert call.clear, call
        expected = served.expected(call)
        assert expected is not None, (call, found)
        assert len(found) == len(expected), (call, found)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(same(ours[name], theirs[name]) for name in ours), (call, ours, theirs)
    else:
        assert 400 <= status < 500, (call, found)
        assert not call.valid, (call, found)
        assert found["message"], call


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_right_answer_or_a_clear_refusal(served: Served, kind: str) -> None:
    for name in [name for name in served.lambdas if KINDS[name.partition("_")[2]] == kind]:
        check_calls(served, name, kind)


def check_calls(served: Served, name: str, kind: str) -> None:
    @settings(max_examples=4, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])  # fmt: skip
    @given(st.lists(calls(name, kind), min_size=12, max_size=24))
    def check(asked: list[Call]) -> None:
        together = served.ask(asked, len(asked))
        for call, one, (status, found) in zip(asked, served.ask(asked, 1), together, strict=True):
            judge(served, call, status, found)
            assert one == (status, found), call

    check()
