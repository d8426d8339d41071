"""Pages of lambdas: put together they are the whole answer of DuckDB, in its order, whatever the rows."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
import math
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # the same
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.planner.ir import LambdaSpec
from realtime.project.manifest import Project
from realtime.serving.calls import Calls
from realtime.serving.formats import BY_SUFFIX, Format
from realtime.serving.limits import Limits
from realtime.serving.pages import Page, position
from realtime.serving.registry import Entry
from realtime.serving.requested import Requested
from realtime.serving.traces import Asked
from realtime.serving.upstream import Upstream
from tests.planner.small import Declared, Deployed, Row, planned, project, unique
from tests.planner.test_lambdas import written

COLUMNS = {
    "id": "VARCHAR", "part": "VARCHAR", "k": "VARCHAR", "tiny": "UTINYINT", "n": "BIGINT", "u": "UBIGINT",
    "h": "HUGEINT", "price": "DECIMAL(10,2)", "wide": "DECIMAL(38,10)", "f": "DOUBLE", "r": "FLOAT",
    "flag": "BOOLEAN", "day": "DATE", "seen_at": "TIMESTAMP", "zoned": "TIMESTAMP WITH TIME ZONE", "s": "TIMESTAMP_S",
    "code": "UUID",
}  # fmt: skip
SOURCES = {"app.things": Declared(COLUMNS, not_null=("id", "part"))}
MODELS = {
    "things": "select * from {{ source('app', 'things') }}",
    "per_k": "select part, k, f, count(*) as c, max(n) as most from {{ source('app', 'things') }} group by part, k, f",
}
TEXTS = ["", "a", "A", "ä", "日本", "👩‍🚀", "a'b\\c", '"~41"', ',"~41"\n', "-", "\t\n\r", "zz" * 40, "\x00", "~"]
MOMENTS = [
    dt.datetime(1900, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(2018, 5, 2, 19, 38, 15, 1),
    dt.datetime(2018, 5, 2, 19, 38, 15, 2), dt.datetime(2299, 12, 31, 23, 59, 59, 999999),
]  # fmt: skip
FLOATS = [0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, -1e-310, math.nan, math.inf, -math.inf, 2.0**53 + 2]
EXTREMES: dict[str, list[Any]] = {
    "k": TEXTS,
    "tiny": [0, 255],
    "n": [0, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)],
    "u": [0, 2**64 - 1, 2**53 + 1],
    "h": [0, 2**127 - 1, -(2**127) + 1, 2**64],
    "price": [Decimal("0.00"), Decimal("99999999.99"), Decimal("-0.01")],
    "wide": [Decimal("0.0000000001"), Decimal("-9999999999999999999999999999.9999999999"), Decimal(1)],
    "f": FLOATS,
    "r": [0.0, 0.1, -3.4028234663852886e38, math.nan, 1e-45],
    "flag": [True, False],
    "day": [dt.date(1900, 1, 1), dt.date(2018, 5, 2), dt.date(2299, 12, 31)],
    "seen_at": MOMENTS,
    "zoned": MOMENTS,
    "s": [m.replace(microsecond=0) for m in MOMENTS],
    "code": [uuid.UUID(int=i) for i in (0, 1, 2**63, 2**64, 2**127, 2**128 - 1)],
}
THINGS = "from {{ ref('things') }} where part = {{ param('part', 'varchar') }}"
NULLS = ["", "", " nulls first", " nulls last"]


class Pager:
    """The lambdas of one project after another, over the same tables, in both engines."""

    def __init__(self, clickhouse: ClickHouse, endpoint: Endpoint, database: str) -> None:
        self.endpoint, self.database = endpoint, database
        self.deployed = Deployed(planned(self.project(""), database), clickhouse)

    def project(self, sql: str, **options: Any) -> Project:
        queries = {"q": written(sql)} if sql else {}
        return project(
            SOURCES, MODELS, queries=queries, examples={"paging": True, **options},
            tests=[unique("source.t.app.things", "id", "part")],
        )  # fmt: skip

    def lambda_(self, sql: str, **options: Any) -> LambdaSpec:
        return planned(self.project(sql, **options), self.database).lambdas[0]

    def whole(self, spec: LambdaSpec, rows: Sequence[Row], **given: Any) -> list[tuple[Any, ...]]:
        """All rows, as DuckDB answers."""
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA app")
            typed = ", ".join(f"{n} {t}" for n, t in COLUMNS.items())
            connection.execute(f"CREATE TABLE app.things ({typed})")
            marks = ", ".join("?" * len(COLUMNS))
            for row in rows:
                zoned = row["zoned"].replace(tzinfo=dt.UTC) if row["zoned"] is not None else None
                connection.execute(
                    f"INSERT INTO app.things VALUES ({marks})",
                    list({**{c: row[c] for c in COLUMNS}, "zoned": zoned}.values()),
                )
            for name, sql in MODELS.items():
                text = sql.replace("{{ source('app', 'things') }}", "app.things")
                connection.execute(f"CREATE VIEW {name} AS {text}")
            return connection.execute(spec.batch, {n: v for n, v in given.items() if f"${n}" in spec.batch}).fetchall()

    def pages(self, spec: LambdaSpec, form: Format, sizes: Iterator[int], **given: Any) -> list[bytes]:
        """All pages, of the ``sizes``."""
        return asyncio.run(self._pages(spec, form, sizes, given))

    async def _pages(self, spec: LambdaSpec, form: Format, sizes: Iterator[int], given: dict[str, Any]) -> list[bytes]:
        upstream = Upstream(self.endpoint, Limits())
        try:
            calls, entry, found = Calls(upstream), Entry.of(spec), list[bytes]()
            cursor: str | None = None
            while cursor is None or cursor:
                assert len(found) <= 50, "more pages than rows"
                body = {**given, "page_size": next(sizes), "cursor": cursor}
                where = position({}, body)
                page = await calls.answer(Requested({}, body, where).call(entry, form, "r1", Asked()))
                assert isinstance(page, Page)
                found.append(bytes(page))
                cursor = page.cut.cursor
            return found
        finally:
            await upstream.close()


@pytest.fixture(scope="module")
def pager(clickhouse: ClickHouse, endpoint: Endpoint) -> Iterator[Pager]:
    database = f"t{uuid.uuid4().hex[:12]}"
    yield Pager(clickhouse, endpoint, database)
    for suffix in ("", "_raw", "_state"):
        clickhouse.execute(f"DROP DATABASE {database}{suffix} SYNC")


@st.composite
def things(draw: st.DrawFn) -> list[Row]:
    """Up to 40 rows of few values, so that many are alike in everything but their id."""
    ids = draw(st.lists(st.sampled_from([*TEXTS, *(f"i{n}" for n in range(30))]), unique=True, max_size=40))
    part = uuid.uuid4().hex  # so that the rows of others need not go
    few = {c: draw(st.lists(st.sampled_from([None, *v]), min_size=1, max_size=4)) for c, v in EXTREMES.items()}
    return [{"id": i, "part": part, **{c: draw(st.sampled_from(v)) for c, v in few.items()}} for i in ids]


@st.composite
def orders(draw: st.DrawFn, columns: Sequence[str], last: Sequence[str]) -> str:
    chosen = draw(st.lists(st.sampled_from(columns), unique=True, min_size=1, max_size=3))
    keys = [*(c for c in chosen if c not in last), *last]
    return ", ".join(f"{k}{draw(st.sampled_from(['', ' desc']))}{draw(st.sampled_from(NULLS))}" for k in keys)


def values(pages: Sequence[bytes], form: Format, column: str) -> list[Any]:
    """A column of all pages."""
    found: list[Any] = []
    for page in pages:
        if form.suffix == "json":
            body = json.loads(page)
            assert body["rows"] == len(body["data"])
            found += [row[column] for row in body["data"]]
        elif form.suffix == "ndjson":
            found += [json.loads(line)[column] for line in page.split(b"\n")[:-1]]
        elif form.suffix == "csv":
            found += [row[column] for row in csv.DictReader(io.StringIO(page.decode(), newline=""))]
        else:
            table = (
                pa.ipc.open_stream(page).read_all() if form.suffix == "arrow" else pq.read_table(pa.BufferReader(page))
            )
            assert not any(name.startswith("__duet") for name in table.column_names)
            found += table.column(column).to_pylist()
    return found


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rows=things(), seed=st.integers(0, 1000))
def test_pages_are_the_whole_answer(pager: Pager, data: st.DataObject, rows: list[Row], seed: int) -> None:
    order = data.draw(orders(list(EXTREMES), ["id"]), "order")
    spec = pager.lambda_(f"select id, k, f {THINGS} order by {order}")
    form = data.draw(st.sampled_from(list(BY_SUFFIX.values())), "format")
    pager.deployed.insert({"app.things": rows}, seed)
    sizes, part = st.integers(1, 9), rows[0]["part"] if rows else ""
    pages = pager.pages(spec, form, iter(lambda: data.draw(sizes, "page_size"), None), part=part)
    assert values(pages, form, "id") == [row[0] for row in pager.whole(spec, rows, part=part)]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rows=things(), seed=st.integers(0, 1000))
def test_pages_of_groups(pager: Pager, data: st.DataObject, rows: list[Row], seed: int) -> None:
    order = data.draw(orders(["most", "c", "k", "f"], ["f", "k"]), "order")
    sql = "select k, f, c, most from {{ ref('per_k') }} where part = {{ param('part', 'varchar') }} order by " + order
    spec, arrow = pager.lambda_(sql), BY_SUFFIX["arrow"]
    pager.deployed.insert({"app.things": rows}, seed)
    size, part = data.draw(st.integers(1, 5), "page_size"), rows[0]["part"] if rows else ""
    pages = pager.pages(spec, arrow, iter(lambda: size, None), part=part)
    columns = [values(pages, arrow, c) for c in ("k", "f", "c", "most")]
    assert list(map(repr, zip(*columns, strict=True))) == [
        repr((k, f if f is None else f + 0.0, c, n)) for k, f, c, n in pager.whole(spec, rows, part=part)
    ]
