"""Calls of a lambda that may be approximate: the index answers, and all rows where it finds too few."""

from __future__ import annotations

import asyncio
import json

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.planner.ir import LambdaSpec, Nearest
from realtime.serving.calls import Call, Calls
from realtime.serving.formats import BY_SUFFIX
from realtime.serving.limits import Limits
from realtime.serving.registry import Entry
from realtime.serving.upstream import Upstream
from tests.serving.plans import param, spec

FORMS = ("json", "ndjson", "csv", "arrow", "parquet")


def answered(endpoint: Endpoint, asked: LambdaSpec, k: int, form: str) -> bytes:
    """The answer to one call."""

    async def run() -> bytes:
        upstream = Upstream(endpoint, Limits())
        try:
            entry = Entry.of(asked)
            given = entry.signature.read({}, {"k": k} if asked.params else {}, None)  # type: ignore[arg-type]
            return await Calls(upstream).answer(Call(entry, given, BY_SUFFIX[form], "r", now=False))
        finally:
            await upstream.close()

    return asyncio.run(run())


def of(limit: str, nearest: Nearest) -> LambdaSpec:
    """A lambda that says which of its queries answered; the index finds five rows."""
    exact = f"SELECT 'all' AS v FROM numbers(20) LIMIT {limit}"
    return spec("asked", exact, [param("k", "BIGINT")] if nearest.param else [], [("v", "VARCHAR")], nearest=nearest)


@pytest.mark.parametrize("form", FORMS)
def test_all_rows_are_read_where_the_index_finds_too_few(endpoint: Endpoint, clickhouse: ClickHouse, form: str) -> None:
    found = "SELECT 'near' AS v FROM numbers(5) LIMIT"
    named = of("{k:Int64}", Nearest(f"{found} {{k:Int64}}", "", param="k"))
    for k, who in ((3, b"near"), (5, b"near"), (6, b"all"), (30, b"all")):
        assert who in answered(endpoint, named, k, form)
    for rows, who in ((5, b"near"), (6, b"all")):
        assert who in answered(endpoint, of(str(rows), Nearest(f"{found} {rows}", "", rows)), 0, form)


def test_the_answer_is_whole(endpoint: Endpoint, clickhouse: ClickHouse) -> None:
    body = json.loads(answered(endpoint, of("6", Nearest("SELECT 'near' AS v FROM numbers(5)", "", 6)), 0, "json"))
    assert body["data"] == [{"v": "all"}] * 6
