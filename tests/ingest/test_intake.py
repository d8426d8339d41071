"""Requests to a real ClickHouse: what lands, what is refused, and what is counted once."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable

import pytest
import zstandard

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError, NotFoundError, OverloadedError, UnavailableError
from realtime.ingest.intake import Intake, Limits
from realtime.ingest.request import Taken
from realtime.planner.ir import Plan, SourceSpec
from tests.ingest.rows import COLUMNS, deployed, ndjson, quarantined, row
from tests.landing import source


def run(
    endpoint: Endpoint, plan: Plan, work: Callable[[Intake], Awaitable[None]], limits: Limits | None = None
) -> None:
    """``work`` with an intake that is closed afterwards."""

    async def main() -> None:
        intake = Intake(endpoint, plan, limits=limits)
        try:
            await work(intake)
        finally:
            await intake.close()

    asyncio.run(main())


def with_states(clickhouse: ClickHouse, database: str, spec: SourceSpec) -> None:
    """Two materialized views; the second throws where ``chars`` is 0."""
    settings = "SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 10000"
    clickhouse.execute(f"CREATE DATABASE {database}_state")
    for name, value in (("counts", "count()"), ("ratios", "sum(toInt64(intDiv(1000, ifNull(chars, 1))))")):
        state = value.replace("(", "State(", 1)
        select = f"SELECT stream, {state} AS c FROM {spec.landing} AS l GROUP BY stream"
        table = f"{database}_state.{name}"
        clickhouse.execute(
            f"CREATE TABLE {table} ENGINE = AggregatingMergeTree ORDER BY stream {settings} EMPTY AS {select}"
        )
        clickhouse.execute(f"CREATE MATERIALIZED VIEW {table}_mv TO {table} AS {select}")


def total(clickhouse: ClickHouse, table: str, merge: str) -> int:
    return int(clickhouse.value(f"SELECT {merge}(c) FROM {table}"))


@pytest.fixture
def spec(clickhouse: ClickHouse, database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.events", not_null=("id",))


def test_rows_land_in_every_form(endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec) -> None:
    plan = deployed(clickhouse, database, spec)

    async def work(intake: Intake) -> None:
        body = ndjson(row(1), row(2))
        array = json.dumps([row(3), row(4)], indent=1).encode()
        assert await intake.take("app.events", body, content_type="application/x-ndjson") == Taken(2, 0)
        assert await intake.take("app.events", array, content_type="application/json") == Taken(2, 0)
        one = json.dumps(row(5), indent=1).encode()
        assert await intake.take("app.events", one, content_type="application/json") == Taken(1, 0)
        packed = gzip.compress(ndjson(row(6))) + gzip.compress(ndjson(row(7)))
        assert await intake.take("app.events", packed, encoding="gzip") == Taken(2, 0)
        assert await intake.take("app.events", zstandard.compress(ndjson(row(8))), encoding="zstd") == Taken(1, 0)
        assert await intake.take("app.events", b"[]") == Taken(0, 0)
        assert await intake.take("app.events", b"\xef\xbb\xbf" + ndjson(row(9))) == Taken(1, 0)

    run(endpoint, plan, work)
    assert [r["id"] for r in clickhouse.rows(f"SELECT id FROM {spec.landing} ORDER BY id")] == list(range(1, 10))


def test_bad_rows_are_quarantined_with_reasons(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    body = b"".join(
        line + b"\n"
        for line in (
            b'{"id":1,"chars":5}',
            b'{"id":1.5,"chars":3000000000}',
            b'{"stream":"x"}',
            b'{"id":2,"Stream":"x"}',
            b"not json",
            b'["a"]',
            b'{"id":3,"stream":"\xff"}',
        )
    )

    async def work(intake: Intake) -> None:
        assert await intake.take("app.events", body, request_id="r1") == Taken(1, 6)

    run(endpoint, plan, work)
    found = quarantined(clickhouse, spec)
    assert found == sorted(
        [
            (
                '{"id":1.5,"chars":3000000000}',
                ("id", "chars"),
                (
                    "expected a whole number, got 1.5",
                    "3000000000 is outside INTEGER (-2147483648 to 2147483647)",
                ),
            ),
            ('{"stream":"x"}', ("id",), ("is missing, and must not be NULL",)),
            ('{"id":2,"Stream":"x"}', ("Stream",), ("is not declared; did you mean stream?",)),
            ("not json", (), ("the row is not JSON: JSON is malformed: invalid character (byte 4)",)),
            ('["a"]', (), ("the row is JSON, but not an object",)),
            ('{"id":3,"stream":"\\xff"}', ("stream",), ("is not UTF-8",)),
        ]
    )
    assert clickhouse.value(f"SELECT groupUniqArray(request_id) FROM {spec.quarantine}") == ["r1"]


def test_small_requests_share_inserts(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)

    async def work(intake: Intake) -> None:
        answers = await asyncio.gather(*(intake.take("app.events", ndjson(row(i))) for i in range(500)))
        assert set(answers) == {Taken(1, 0)}
        assert intake.writer.inserts <= 3

    run(endpoint, plan, work)
    assert clickhouse.value(f"SELECT uniqExact(id) FROM {spec.landing}") == 500
    assert clickhouse.value(f"SELECT uniqExact(_part) FROM {spec.landing}") <= 3


def test_gap_bounds_the_inserts(endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec) -> None:
    plan = deployed(clickhouse, database, spec)

    async def work(intake: Intake) -> None:
        begin = time.monotonic()
        for i in range(12):
            await intake.take("app.events", ndjson(row(i)))
        assert time.monotonic() - begin >= 11 * 0.05
        await asyncio.sleep(0.06)
        begin = time.monotonic()
        await intake.take("app.events", ndjson(row(0)))
        assert time.monotonic() - begin < 0.05  # idle: at once

    run(endpoint, plan, work, Limits(gap=0.05))


def test_a_key_counts_once_in_landing_and_states(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    with_states(clickhouse, database, spec)
    body = ndjson(*(row(i, chars=1) for i in range(100)), {"id": "x"})

    async def work(intake: Intake) -> None:
        both = await asyncio.gather(*(intake.take("app.events", body, idempotency_key="k1") for _ in range(2)))
        assert both == [Taken(100, 1)] * 2
        assert await intake.take("app.events", body, idempotency_key="k1") == Taken(100, 1)

    run(endpoint, plan, work)
    run(endpoint, plan, work)  # another server process

    async def other(intake: Intake) -> None:
        assert await intake.take("app.events", body, idempotency_key="k2") == Taken(100, 1)

    run(endpoint, plan, other)
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 200
    assert total(clickhouse, f"{database}_state.counts", "countMerge") == 200
    assert total(clickhouse, f"{database}_state.ratios", "sumMerge") == 200 * 1000
    assert len(quarantined(clickhouse, spec)) == 2


def test_large_bodies_are_many_blocks_that_count_once(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    with_states(clickhouse, database, spec)
    body = ndjson(*(row(i, chars=1) for i in range(120_000)))
    assert len(body) > 8 * 2**20

    async def work(intake: Intake) -> None:
        assert await intake.take("app.events", gzip.compress(body, 1), encoding="gzip", idempotency_key="k") == Taken(
            120_000, 0
        )

    run(endpoint, plan, work)
    run(endpoint, plan, work)
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 120_000
    assert clickhouse.value(f"SELECT uniqExact(id) FROM {spec.landing}") == 120_000
    assert total(clickhouse, f"{database}_state.counts", "countMerge") == 120_000


def test_rows_that_only_clickhouse_refuses_do_not_fail_the_others(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    clickhouse.execute(f"ALTER TABLE {spec.landing} ADD CONSTRAINT few CHECK ifNull(chars, 0) < 90")
    with_states(clickhouse, database, spec)

    async def work(intake: Intake) -> None:
        bodies = [ndjson(row(1, chars=1), row(2, chars=1)) for _ in range(20)] + [
            ndjson(row(3, chars=95), row(4, chars=2))
        ]
        answers = await asyncio.gather(*(intake.take("app.events", b) for b in bodies))
        assert answers == [Taken(2, 0)] * 20 + [Taken(1, 1)]

    run(endpoint, plan, work)
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 41
    assert total(clickhouse, f"{database}_state.counts", "countMerge") == 41
    ((text, _, reasons),) = quarantined(clickhouse, spec)
    assert json.loads(text)["id"] == 3
    assert "few" in reasons[0]


def test_a_row_on_which_a_view_throws_does_not_cost_the_others_their_place(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    with_states(clickhouse, database, spec)

    async def work(intake: Intake) -> None:
        bodies = [ndjson(row(i, chars=1)) for i in range(30)] + [ndjson(row(30, chars=0), row(31, chars=1))]
        answers = await asyncio.gather(*(intake.take("app.events", b) for b in bodies))
        assert answers == [Taken(1, 0)] * 30 + [Taken(1, 1)]

    run(endpoint, plan, work)
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 32
    assert total(clickhouse, f"{database}_state.counts", "countMerge") == 32
    assert total(clickhouse, f"{database}_state.ratios", "sumMerge") == 31 * 1000
    ((text, _, reasons),) = quarantined(clickhouse, spec)
    assert json.loads(text)["id"] == 30
    assert "is stored, but" in reasons[0]
    assert "Division by zero" in reasons[0]


@pytest.mark.parametrize("throwing", [False, True])
def test_a_view_that_fails_without_a_rows_fault_is_an_error(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec, throwing: bool
) -> None:
    plan = deployed(clickhouse, database, spec)
    with_states(clickhouse, database, spec)
    ratios = f"{database}_state.ratios"
    clickhouse.execute(f"ALTER TABLE {ratios} ADD CONSTRAINT few CHECK stream != 's1'")
    body = ndjson(row(1, chars=1), *([row(2, chars=0)] if throwing else []))

    async def work(intake: Intake) -> None:
        with pytest.raises(UnavailableError, match=r"ratios_mv fails: .*few") as caught:
            await intake.take("app.events", body, idempotency_key="k")
        assert "view ratios_mv does not take the rows" in caught.value.remedy
        with pytest.raises(UnavailableError, match="ratios_mv fails"):
            await intake.take("app.events", body)
        clickhouse.execute(f"ALTER TABLE {ratios} DROP CONSTRAINT few")
        assert await intake.take("app.events", body, idempotency_key="k") == Taken(1, int(throwing))
        assert total(clickhouse, ratios, "sumMerge") == 1000
        clickhouse.execute(f"DROP TABLE {ratios} SYNC")
        with pytest.raises(UnavailableError, match=r"(?s)state\.ratios.*duet deploy"):
            await intake.take("app.events", ndjson(row(7, chars=1)))

    run(endpoint, plan, work)
    assert total(clickhouse, f"{database}_state.counts", "countMerge") == 2 * (1 + throwing)


def test_deletions_are_rows(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    spec = source(
        database,
        {"id": "BIGINT", "version": "BIGINT", "name": "VARCHAR", "gone": "BOOLEAN"},
        name="app.users",
        mode="upsert",
        key=("id",),
        version="version",
        deleted="gone",
        not_null=("id", "name"),
    )
    append = source(database, COLUMNS, name="app.events")
    plan = deployed(clickhouse, database, spec, append)

    async def work(intake: Intake) -> None:
        rows = ndjson(*({"id": i, "version": 1, "name": f"n{i}", "gone": False} for i in (1, 2)))
        assert await intake.take("app.users", rows) == Taken(2, 0)
        deletions = ndjson({"id": 1, "version": 2}, {"id": 2}, {"id": 2, "version": 2, "name": "x"})
        assert await intake.take("app.users", deletions, method="DELETE") == Taken(1, 2)
        with pytest.raises(BadRequestError, match="appended rows only"):
            await intake.take("app.events", deletions, method="DELETE")

    run(endpoint, plan, work)
    rows = clickhouse.rows(f"SELECT id, version, gone FROM {spec.landing} FINAL ORDER BY id")
    assert rows == [{"id": 1, "version": 2, "gone": True}, {"id": 2, "version": 1, "gone": False}]
    assert {r for _, _, reasons in quarantined(clickhouse, spec) for r in reasons} == {
        "is missing, and must not be NULL",
        "a deletion holds the key and the version only",
    }


def test_an_unknown_source_names_the_known_ones(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)

    async def work(intake: Intake) -> None:
        with pytest.raises(NotFoundError, match=r"no source 'app\.evnts'") as caught:
            await intake.take("app.evnts", b"{}")
        assert caught.value.remedy == "known sources are app.events"
        other = source(database, COLUMNS, name="app.other")
        await intake.update(deployed(clickhouse, database, spec, other))
        assert await intake.take("app.other", ndjson(row(1))) == Taken(1, 0)

    run(endpoint, plan, work)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"", "", "the body is empty"),
        (b" \n", "", "the body is empty"),
        (b'[{"id":1},', "", "not one"),
        (gzip.compress(b'{"id":1}', mtime=0)[:-4], "gzip", "not valid gzip"),
        (zstandard.compress(b'{"id":1}')[:-4], "zstd", "not valid zstd"),
        (b"x", "br", "'br' is not known"),
        (b" " * (1 << 20) + b"{}", "", "larger than 1 MiB"),
        (gzip.compress(b" " * (1 << 28)), "gzip", "larger than 1 MiB"),
        (zstandard.compress(b" " * (1 << 28)), "zstd", "larger than 1 MiB"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, encoding: str, message: str, endpoint: Endpoint) -> None:
    plan = Plan(project="test", database="none", sources=(source("none", COLUMNS, name="app.events"),), steps=())

    async def work(intake: Intake) -> None:
        with pytest.raises(BadRequestError, match=message):
            await intake.take("app.events", body, encoding=encoding)

    run(endpoint, plan, work, Limits(body=1 << 20))


def test_a_source_that_is_not_deployed(endpoint: Endpoint, database: str, spec: SourceSpec) -> None:
    plan = Plan(project="test", database=database, sources=(spec,), steps=())

    async def work(intake: Intake) -> None:
        with pytest.raises(UnavailableError) as caught:
            await intake.take("app.events", ndjson(row(1)))
        assert "duet deploy" in caught.value.remedy

    run(endpoint, plan, work)


def test_overload_is_refused_and_what_was_taken_lands(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec
) -> None:
    plan = deployed(clickhouse, database, spec)
    body = ndjson(*(row(i) for i in range(1000)))

    async def work(intake: Intake) -> None:
        answers = await asyncio.gather(*(intake.take("app.events", body) for _ in range(40)), return_exceptions=True)
        refused = [a for a in answers if isinstance(a, OverloadedError)]
        assert refused
        assert refused[0].retry_after > 0
        assert answers.count(Taken(1000, 0)) == 40 - len(refused) > 0
        assert intake.room.used == 0
        landed = clickhouse.value(f"SELECT count() FROM {spec.landing}")
        assert landed == 1000 * (40 - len(refused))
        assert await intake.take("app.events", body) == Taken(1000, 0)

    run(endpoint, plan, work, Limits(waiting=1 << 20))
