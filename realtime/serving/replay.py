"""Recorded calls of a lambda on two of its versions: what `duet lambda diff` shows before a tag is moved."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from realtime.clickhouse.client import ClickHouse
from realtime.errors import NotFoundError
from realtime.serving.client import run_lambda

_CALLS = """
SELECT parameters FROM {database:Identifier}.calls WHERE name = {name:String}
GROUP BY parameters ORDER BY max(at) DESC LIMIT {calls:UInt32}
"""
_SHOWN = 5


class Side(msgspec.Struct, frozen=True):
    """One version's answers: ``failed`` of them were errors; latencies in ms, over HTTP, one call at a time."""

    version: str
    p50_ms: float
    p95_ms: float
    failed: int


class Difference(msgspec.Struct, frozen=True):
    """A call whose answers differ: rows that only one side has, up to five, or its error."""

    parameters: dict[str, Any]
    old: list[Any]
    new: list[Any]


class Replayed(msgspec.Struct, frozen=True):
    """``calls`` were replayed on both sides; ``examples`` says that they are the author's, since none is recorded."""

    name: str
    calls: int
    old: Side
    new: Side
    differing: tuple[Difference, ...]
    examples: bool = False


class _Answer(msgspec.Struct):
    status: int
    rows: list[str]
    ms: float


def replay(
    client: ClickHouse,
    database: str,
    url: str,
    name: str,
    versions: tuple[str, str],
    calls: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
    token: str = "",
) -> Replayed:
    """Replays the last ``calls`` distinct recorded calls of lambda ``name`` through the server at ``url``.

    Each at the moment that it asked for. Rows are compared without their order, which a query need not have.
    NotFoundError where no call is recorded and the lambda has no examples.
    """
    found = client.rows(_CALLS, {"database": f"{database}_duet", "name": name, "calls": calls})
    recorded = [msgspec.json.decode(row["parameters"]) for row in found]
    given = recorded or list(_examples(client, database, name, versions[1]))
    if not given:
        raise NotFoundError(
            f"no call of lambda {name} is recorded, and it has no examples",
            remedy="call it, wait ten seconds, and try again; DUET_SAMPLE_CALLS says how many calls are kept",
        )
    answers: tuple[list[_Answer], list[_Answer]] = ([], [])
    for number, parameters in enumerate(given, start=1):
        for version, side in zip(versions, answers, strict=True):
            side.append(_ask(url, name, version, parameters, token))
        advance(number, len(given))
    old, new = (_side(version, side) for version, side in zip(versions, answers, strict=True))
    pairs = zip(given, *answers, strict=True)
    differing = tuple(_difference(p, a, b) for p, a, b in pairs if (a.status, a.rows) != (b.status, b.rows))
    return Replayed(name, len(given), old, new, differing, examples=not recorded)


def _examples(client: ClickHouse, database: str, name: str, version: str) -> Iterator[dict[str, Any]]:
    sql = (
        "SELECT spec FROM {database:Identifier}.lambdas FINAL WHERE name = {name:String} AND version = {version:String}"
    )
    row = client.rows(sql, {"database": f"{database}_duet", "name": name, "version": version})
    yield from msgspec.json.decode(row[0]["spec"]).get("examples", []) if row else ()


def _ask(url: str, name: str, version: str, parameters: dict[str, Any], token: str) -> _Answer:
    began = time.perf_counter()
    status, body = run_lambda(url, name, parameters, version=version, token=token)
    ms = (time.perf_counter() - began) * 1000
    found = msgspec.json.decode(body)
    rows = found["data"] if status == 200 else [found["error"]["message"]]
    return _Answer(status, sorted(msgspec.json.encode(row).decode() for row in rows), ms)


def _side(version: str, answers: list[_Answer]) -> Side:
    times = sorted(a.ms for a in answers)
    late = times[min(len(times) - 1, int(len(times) * 0.95))]
    failed = sum(a.status != 200 for a in answers)
    return Side(version, round(statistics.median(times), 2), round(late, 2), failed)


def _difference(parameters: dict[str, Any], old: _Answer, new: _Answer) -> Difference:
    return Difference(parameters, _only(old, new), _only(new, old))


def _only(these: _Answer, others: _Answer) -> list[Any]:
    """Rows that ``others`` has not, counted: a row that is there twice must be there twice."""
    left = list(others.rows)
    found = []
    for row in these.rows:
        if row in left:
            left.remove(row)
        else:
            found.append(msgspec.json.decode(row))
    return found[:_SHOWN]
