"""Every lambda of the example answers as DuckDB does for the same moment: hundreds of random calls of each, alone and
together."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import aiohttp
import duckdb
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.planner.ir import LambdaSpec
from realtime.project.profile import duckdb_path
from realtime.serving.parameters import Signature
from realtime.transpile.types import Kind, duck_type
from tests.example.conftest import ROOT, Example

CALLS = 320
TOGETHER = 16
"""Calls in a row that share everything but their key, and so may be one query."""
CALLERS = 32
Params = dict[str, Any]
Row = dict[str, Any]


class Dice:
    """By chance, the same on every run: keys that exist and some that don't, moments at and around events."""

    def __init__(self, example: Example, seed: str) -> None:
        self._chance = random.Random(seed)
        self._messages = example.rows["chat.messages"]
        self._purchases = example.rows["shop.purchases"]
        self._place = 0

    def stream(self) -> str:
        """One in which something was written about the time of the last moment, or earlier."""
        near = self._place + self._chance.randint(-200, 50)
        place = near if self._chance.random() < 0.7 else self._chance.randrange(self._place + 1)
        message = self._messages[min(max(place, 0), len(self._messages) - 1)]
        return str(self._or_missing(message["stream_id"]))

    def customer(self) -> str:
        return str(self._or_missing(self._chance.choice(self._purchases)["customer_id"]))

    def _or_missing(self, key: str) -> str:
        missing = ("", "0", key.upper() + " ", key[:-1], "' OR '' = '", "é\n\\", "\x00")
        return self._chance.choice(missing) if self._chance.random() < 0.15 else key

    def moment(self) -> dt.datetime:
        """At an event or 20 minutes after one, a microsecond before or behind, near it, or far from all."""
        self._place = self._chance.randrange(len(self._messages))
        at = dt.datetime.fromisoformat(self._messages[self._place]["sent_at"]).replace(tzinfo=None)
        if self._chance.random() < 0.1:
            return at + dt.timedelta(days=self._chance.randint(-40_000, 90_000))
        off = self._chance.choice([-1, 0, 0, 1, self._chance.randint(-(10**9), 10**9)])
        return at + dt.timedelta(minutes=self._chance.choice((0, 20)), microseconds=off)

    def number(self) -> int:
        return self._chance.choice([1, 2, 3, 20, 1000, self._chance.randint(1, 1000)])

    def some(self, **given: Any) -> Params:
        """``given``, each left out by chance."""
        return {name: value for name, value in given.items() if self._chance.random() < 0.8}


def written(moment: dt.datetime) -> str:
    """In one of the forms that are taken."""
    return moment.isoformat(sep="T" if moment.second % 2 else " ") + ("Z" if moment.second % 3 else "")


def by_minute(dice: Dice) -> Callable[[], Params]:
    last = dice.moment()
    first = last - dt.timedelta(minutes=dice.number() ** 2)
    return lambda: {"stream_id": dice.stream(), "from_minute": written(first), "to_minute": written(last)}


def latest(dice: Dice) -> Callable[[], Params]:
    rest = {"as_of": written(dice.moment()), **dice.some(messages=dice.number())}
    return lambda: {"stream_id": dice.stream(), **rest}


def last_20(dice: Dice) -> Callable[[], Params]:
    as_of = written(dice.moment())
    return lambda: {"stream_id": dice.stream(), "as_of": as_of}


def most_active(dice: Dice) -> Callable[[], Params]:
    return lambda: {"as_of": written(dice.moment()), **dice.some(streams=dice.number())}


CALLED: dict[str, Callable[[Dice], Callable[[], Params]]] = {
    "customer_totals": lambda dice: lambda: {"customer_id": dice.customer()},
    "latest_messages_of_stream": latest,
    "most_active_streams": most_active,
    "stream_by_minute": by_minute,
    "stream_last_20_minutes": last_20,
}
"""For each lambda, what makes the parameters of calls that differ in the key only."""


@pytest.fixture(scope="module")
def batch(example: Example) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(duckdb_path(example.settings.project_dir), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        yield connection


def test_every_lambda_is_called() -> None:
    assert set(CALLED) == {file.stem for file in (ROOT / "realtime" / "lambdas").glob("*.sql")}


@pytest.mark.parametrize("name", sorted(CALLED))
def test_answers_are_those_of_duckdb(
    name: str, example: Example, batch: duckdb.DuckDBPyConnection, clickhouse: ClickHouse
) -> None:
    [spec] = [spec for spec in example.plan.lambdas if spec.name == name]
    dice = Dice(example, name)
    calls = [call() for _ in range(CALLS // TOGETHER) for call in [CALLED[name](dice)] for _ in range(TOGETHER)]
    expected = [in_duckdb(batch, spec, call) for call in calls]
    assert sum(map(bool, expected)) > CALLS // 3, sum(map(bool, expected))
    before = queries(clickhouse)
    together = asyncio.run(asked(example, name, calls, CALLERS))
    sent = queries(clickhouse) - before
    alone = asyncio.run(asked(example, name, calls, 1))
    for call, ours, lonely, theirs in zip(calls, together, alone, expected, strict=True):
        assert ours == theirs, call
        assert lonely == theirs, call
    if spec.keyed is not None and spec.paging is None:  # a page after the first is asked alone
        assert sent < CALLS * 0.8, "calls were not answered together"


def queries(client: ClickHouse) -> int:
    return int(client.value("SELECT value FROM system.events WHERE event = 'SelectQuery'"))


async def asked(example: Example, name: str, calls: Sequence[Params], callers: int) -> list[list[Row]]:
    """The rows of every call over HTTP, on all of its pages, so many at a time, in turns as GET and POST."""
    url = f"http://127.0.0.1:{example.server.port}/v1/lambdas/{name}"
    connector = aiohttp.TCPConnector(limit=callers)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(place: int, call: Params) -> list[Row]:
            found: list[Row] = []
            page: dict[str, Any] = {"next_cursor": ""}
            while page.get("next_cursor") is not None:
                given = {**call, "cursor": page["next_cursor"]} if page["next_cursor"] else call
                texts = {name: str(value) for name, value in given.items()}
                async with session.get(url, params=texts) if place % 2 else session.post(url, json=given) as answer:
                    body = await answer.read()
                    assert answer.status == 200, (given, body)
                    page = json.loads(body, parse_float=Decimal)
                    found += page["data"]
            return found

        return await asyncio.gather(*(one(place, call) for place, call in enumerate(calls)))


def in_duckdb(connection: duckdb.DuckDBPyConnection, spec: LambdaSpec, call: Params) -> list[Row]:
    """The rows of the batch form, as JSON has their values."""
    given = Signature.of(spec).read({}, call, dt.datetime.now(dt.UTC))
    used = {name: given[name] for name in connection.extract_statements(spec.batch)[0].named_parameters}
    rows = connection.execute(spec.batch, used).fetchall()
    kinds = [duck_type(column.type).kind for column in spec.columns]
    assert not {Kind.FLOAT, Kind.LIST, Kind.STRUCT} & set(kinds)  # to be compared in their own way
    names = [column.name for column in spec.columns]
    return [dict(zip(names, map(as_json, row), strict=True)) for row in rows]


def as_json(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="microseconds") + "Z"
    return value.isoformat() if isinstance(value, dt.date) else value
