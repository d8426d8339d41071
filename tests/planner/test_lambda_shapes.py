"""What lambdas are asked for beyond one key: optional filters, lists, orders and columns to choose, pages.

Parameters go the way of a request: read by the server, bound by ClickHouse, and by DuckDB for the other side.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError
from realtime.planner.ir import LambdaSpec
from realtime.planner.planner import plan_project
from realtime.serving.limits import Limits
from realtime.serving.parameters import Signature, from_query
from realtime.serving.upstream import Upstream
from tests.planner.small import Deployed, planned, project
from tests.planner.sources import SOURCES
from tests.planner.test_lambdas import MODELS, _in_duckdb, _row, written

STAGED = "{{ ref('staged') }}"
KEY = "{{ param('k', 'varchar', required=false) }}"
SINCE = "{{ param('since', 'timestamp', required=false) }}"
AFTER_AT = "{{ param('after_at', 'timestamp', required=false) }}"
AFTER_ID = "{{ param('after_id', 'varchar', required=false) }}"
KEYS = "{{ param('ks', 'varchar[]') }}"
SOME = "{{ param('ks', 'varchar[]', default=[]) }}"
ORDER = "{{ param('by', 'varchar', enum=['n', 'newest'], default='n') }}"
TURN = "{{ param('turn', 'varchar', enum=['asc', 'desc'], default='asc') }}"
SHAPES = {
    "optional": f"select id from {STAGED} where ({KEY} is null or k = {KEY}) order by id",
    "optional_moment": f"select id from {STAGED} where (seen_at >= {SINCE} or {SINCE} is null) order by id",
    "in_list": f"select id from {STAGED} where k in {KEYS} order by id",
    "not_in_list": f"select id from {STAGED} where k not in {KEYS} order by id",
    "any_of": f"select id from {STAGED} where k = any({KEYS}) order by id",
    "in_numbers": f"select id from {STAGED} where n in {{{{ param('ns', 'integer[]') }}}} order by id",
    "optional_list": f"select id from {STAGED} where len({SOME}) = 0 or k in {SOME} order by id",
    "order": f"""select id, n from {STAGED} order by case {ORDER} when 'n' then n end desc,
        case {ORDER} when 'newest' then seen_at end desc, id""",
    "direction": f"""select id, n from {STAGED} order by case {TURN} when 'asc' then n end,
        case {TURN} when 'desc' then n end desc, id""",
    "column": f"""select id, case {{{{ param('c', 'varchar', enum=['n', 'k']) }}}} when 'n' then cast(n as varchar)
        else k end as value from {STAGED} order by id""",
    "group": f"""select case {{{{ param('c', 'varchar', enum=['n', 'k']) }}}} when 'n' then cast(n as varchar)
        else k end as value, count(*) as rows from {STAGED} group by value order by value""",
    "page": f"""select id from {STAGED} order by id limit {{{{ param('limit', 'bigint', default=2, min=1, max=100) }}}}
        offset {{{{ param('offset', 'bigint', default=0, min=0) }}}}""",
    "after": f"""select id, n, seen_at from {STAGED} where seen_at is not null and
        ({AFTER_AT} is null or seen_at < {AFTER_AT} or (seen_at = {AFTER_AT} and id > {AFTER_ID}))
        order by seen_at desc, id limit {{{{ param('limit', 'bigint', default=2, min=1, max=100) }}}}""",
}  # fmt: skip
NOON = dt.datetime(2018, 5, 2, 12)
ROWS = [
    _row(1, k="a", n=3, seen_at=NOON),
    _row(2, k="a", n=None, seen_at=NOON - dt.timedelta(hours=1)),
    _row(3, k="ä'--,]", n=-2, seen_at=None),
    _row(4, k=None, n=3, seen_at=NOON + dt.timedelta(microseconds=1)),
    _row(5, k="", n=7, seen_at=NOON),
    _row(6, k="a", n=7, seen_at=NOON),
]
CALLS = [
    ("optional", ""), ("optional", "k=a"), ("optional", "k="), ("optional", "k=nobody"),
    ("optional_moment", ""), ("optional_moment", "since=2018-05-02T12:00:00.000001Z"),
    ("in_list", "ks=a"), ("in_list", "ks=a&ks="), ("in_list", "ks=%C3%A4%27--%2C%5D&ks=nobody"),
    ("not_in_list", "ks=a"), ("not_in_list", "ks=x&ks=y"), ("any_of", "ks=a&ks=a"), ("any_of", "ks="),
    ("in_numbers", "ns=3&ns=-2"), ("in_numbers", "ns=0"),
    ("optional_list", ""), ("optional_list", "ks=a"), ("optional_list", "ks=&ks=nobody"),
    ("order", ""), ("order", "by=newest"), ("direction", ""), ("direction", "turn=desc"),
    ("column", "c=n"), ("column", "c=k"), ("group", "c=n"), ("group", "c=k"),
    ("after", ""), ("after", "after_at=2018-05-02T12:00:00Z&after_id=e1"),
    ("page", ""), ("page", "limit=3&offset=1"), ("page", "offset=6"), ("page", "limit=100"),
]  # fmt: skip


@pytest.fixture(scope="module")
def specs(clickhouse: ClickHouse) -> Iterator[dict[str, LambdaSpec]]:
    plan = planned(project(SOURCES, MODELS, queries={n: written(s) for n, s in SHAPES.items()}), "lambda_shapes")
    Deployed(plan, clickhouse).insert({"app.events": ROWS}, seed=3)
    yield {spec.name: spec for spec in plan.lambdas}
    for part in ("", "_raw", "_state"):
        clickhouse.execute(f"DROP DATABASE IF EXISTS lambda_shapes{part} SYNC")


@pytest.fixture(scope="module")
def batch() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = _in_duckdb(ROWS)
    yield connection
    connection.close()


def answered(endpoint: Endpoint, spec: LambdaSpec, query: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The values that were bound, and the rows."""
    signature = Signature.of(spec)
    given = signature.read(from_query(query.encode()), {}, dt.datetime.now(dt.UTC))

    async def ask() -> bytes:
        upstream = Upstream(endpoint, Limits())
        try:
            reply = await upstream.call(spec.name, spec.select.encode(), signature.encode(given), "JSONEachRow", "r")
            return reply.body
        finally:
            await upstream.close()

    return given, [msgspec.json.decode(line) for line in asyncio.run(ask()).splitlines()]


@pytest.mark.parametrize(("name", "query"), CALLS)
def test_both_engines_answer_the_same(
    endpoint: Endpoint, specs: dict[str, LambdaSpec], batch: duckdb.DuckDBPyConnection, name: str, query: str
) -> None:
    given, found = answered(endpoint, specs[name], query)
    answer = batch.execute(specs[name].batch, given)
    names = [column[0] for column in answer.description]
    expected = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    for row in expected:
        if "seen_at" in row:  # as the server writes it
            row["seen_at"] = f"{row['seen_at'].isoformat(timespec='microseconds')}Z"
    assert found == expected


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_after_a_row_lose_none_and_double_none(
    endpoint: Endpoint, clickhouse: ClickHouse, specs: dict[str, LambdaSpec], size: int
) -> None:
    found: list[str] = []
    asked = f"limit={size}"
    while True:
        _, rows = answered(endpoint, specs["after"], asked)
        found += [row["id"] for row in rows]
        if len(rows) < size:
            break
        last = rows[-1]
        asked = f"limit={size}&after_at={last['seen_at'].replace(' ', 'T')}&after_id={last['id']}"
    assert found == ["e4", "e1", "e5", "e6", "e2"]


def test_what_is_not_in_the_closed_list_is_refused(endpoint: Endpoint, specs: dict[str, LambdaSpec]) -> None:
    for name, query, expected in (
        ("order", "by=id", "n or newest"),
        ("column", "c=n%27%2C%20password", "n or k"),
        ("page", "limit=0", "a whole number from 1 to 100"),
    ):
        with pytest.raises(BadRequestError) as error:
            answered(endpoint, specs[name], query)
        assert expected in error.value.message


WRONG = [
    ("param('x', 'integer', min=5, max=1, default=3)", "its default 3 is not a whole number from 5 to 1"),
    ("param('x', 'varchar', enum=['a'], default='b')", "its default 'b' is not a"),
    ("param('x', 'integer', enum=['a'])", "its enum 'a' is not a whole number"),
    ("param('x', 'uuid', format='uuid')", "a UUID has no format uuid"),
    ("param('x', 'varchar', format='mail')", "'mail' is no format"),
    ("param('x', 'varchar', format='^(a')", "the expression ^(a can't be used"),
    ("param('x', 'varchar', format='email', default='a')", "its default 'a' is not an e-mail address"),
]


@pytest.mark.parametrize(("param", "said"), WRONG)
def test_a_declaration_that_contradicts_itself_is_refused(param: str, said: str) -> None:
    built = project(SOURCES, MODELS, queries={"q": written(f"select {{{{ {param} }}}} as x")})
    (error,) = plan_project(built, "x").refusals
    assert said in str(error)


def test_an_example_is_what_the_parameter_says() -> None:
    sql = written("select {{ param('x', 'varchar', format='email') }} as x")
    built = project(SOURCES, MODELS, queries={"q": sql}, examples={"examples": [{"x": "nobody"}]})
    (error,) = plan_project(built, "x").refusals
    page = project(SOURCES, MODELS, queries={"q": written(SHAPES["page"])}, examples={"examples": [{"offset": 1}]})
    assert plan_project(page, "x").refusals == ()  # a limit has its default
    assert 'parameter x is "nobody"; expected is an e-mail address' in str(error)
