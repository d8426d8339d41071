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
PART = "part = {{ param('part', 'varchar') }}"
MODELS = {
    "things": "select * from {{ source('app', 'things') }}",
    "per_k": "select part, k, f, count(*) as c, max(n) as most from {{ source('app', 'things') }} group by part, k, f",
}
OF_N = f"(select n, count(*) as c, max(k) as k from {{{{ ref('things') }}}} where {PART} group by n)"
OF_THINGS = f"(select * from {{{{ ref('things') }}}} where {PART})"
JOINED = {
    "united": f"""select 'n' as of, k as value, n, null as id from {OF_N}
        union all select 'id', k, n, id from {OF_THINGS} order by n, of desc, id""",
    "numbers": f"""select branch, n, c from (select 1 as branch, n, c from {OF_N} union all select 2, n, c from {OF_N}
        union all select 3, n, null from {OF_N} where c > 1) order by n, branch""",
    "full": f"select t.id, n, p.c from {OF_THINGS} t full join {OF_N} p using (n) order by p.c desc, t.id, n, p.n",
    "coalesced": f"""select coalesce(t.id, p.k) as i, t.n, p.n as m from (select * from {OF_THINGS} where flag) t
        full join (select id as k, n from {OF_THINGS} where n > 0) p on t.id = p.k order by coalesce(t.id, p.k)""",
    "right": f"select t.n, p.c, t.id from {OF_N} p right join {OF_THINGS} t on p.n = t.n order by c, t.id",
    "right_pairs": f"""select t.id, p.c, t.n from {OF_N} p right join (select * from {OF_THINGS} where tiny > 0) t
        on p.n < t.n order by c, p.n desc, t.id""",
    "comma": f"select t.id, p.c from {OF_THINGS} t, {OF_N} p where t.n = p.n order by p.c, t.id",
    "numbered": f"""select k, id from (select k, id, row_number() over (partition by k order by n, id) as place
        from {OF_THINGS}) where place = 1 order by k desc""",
    "some": f"""select k, id, place from (select k, id, row_number() over (partition by k order by n desc, id) as place
        from {OF_THINGS}) where place <= 2 order by place, k""",
}
MINUTES = {
    "minutes": "select part, k, date_trunc('minute', seen_at) as minute, count(*) as c, max(n) as most,"
    " count(distinct u) as us, sum(price) as total from {{ source('app', 'things') }} group by 1, 2, 3",
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
            for name, sql in {**MODELS, **MINUTES}.items():
                text = sql.replace("{{ source('app', 'things') }}", "app.things")
                connection.execute(f"CREATE VIEW {name} AS {text}")
            return connection.execute(spec.batch, {n: v for n, v in given.items() if f"${n}" in spec.batch}).fetchall()

    def pages(self, spec: LambdaSpec, form: Format, sizes: Iterator[int], **given: Any) -> list[bytes]:
        """All pages, of the ``sizes``."""
        return asyncio.run(turned(self.endpoint, Entry.of(spec), form, sizes, given))


async def turned(
    endpoint: Endpoint, entry: Entry, form: Format, sizes: Iterator[int], given: dict[str, Any], rows: str = "y"
) -> list[bytes]:
    """All pages of a lambda; ``rows`` says of each by "y" whether rows may be read where states could be."""
    upstreams = {may: Upstream(endpoint, Limits(light=light)) for may, light in (("y", 100_000), ("n", 1))}
    try:
        calls, found = {may: Calls(upstream) for may, upstream in upstreams.items()}, list[bytes]()
        cursor: str | None = None
        while cursor is None or cursor:
            assert len(found) <= 50, "more pages than rows"
            body = {**given, "page_size": next(sizes), "cursor": cursor}
            where = position({}, body)
            asked = calls[rows[len(found) % len(rows)]]
            page = await asked.answer(Requested({}, body, where).call(entry, form, "r1", Asked()))
            assert isinstance(page, Page)
            found.append(bytes(page))
            cursor = page.cut.cursor
        return found
    finally:
        for upstream in upstreams.values():
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


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rows=things(), seed=st.integers(0, 1000))
def test_pages_of_joins_and_unions(
    pager: Pager, joins: Sequence[LambdaSpec], data: st.DataObject, rows: list[Row], seed: int
) -> None:
    pager.deployed.insert({"app.things": rows}, seed)
    size, part, arrow = data.draw(st.integers(1, 4), "page_size"), rows[0]["part"] if rows else "", BY_SUFFIX["arrow"]
    for spec in joins:
        pages = pager.pages(spec, arrow, iter(lambda: size, None), part=part)
        columns = [values(pages, arrow, c.name) for c in spec.columns]
        assert list(zip(*columns, strict=True)) == pager.whole(spec, rows, part=part), spec.name


@pytest.fixture(scope="module")
def joins(pager: Pager) -> Sequence[LambdaSpec]:
    queries = {name: written(sql) for name, sql in JOINED.items()}
    tests = [unique("source.t.app.things", "id", "part")]
    asked = project(SOURCES, MODELS, queries=queries, examples={"paging": True}, tests=tests)
    return planned(asked, pager.database).lambdas


LAST = "seen_at > {{ as_of() }} - interval 3 minute and seen_at <= {{ as_of() }}"
FROM_STATES = {
    "windows": f"""select k, count(*) as c, max(n) as most from {{{{ ref('things') }}}} where {PART} and {LAST}
        group by k order by c desc, k""",
    "several": f"""select k, count(*) filter (where seen_at > {{{{ as_of() }}}} - interval 1 minute) as c,
        sum(price) as total, count(distinct u) as us from {{{{ ref('things') }}}} where {PART} and {LAST}
        group by k order by c, total desc nulls first, k nulls last""",
    "direct": f"select k, minute, us, total from {{{{ ref('minutes') }}}} where {PART} order by us, k desc, minute",
    "counted": f"""select minute, count(*) as ks, sum(c)::bigint as c from {{{{ ref('minutes') }}}} where {PART}
        group by minute order by ks desc, minute desc""",
}
NOON = dt.datetime(2018, 5, 2, 12)
AROUND = [NOON + dt.timedelta(minutes=m, microseconds=us) for m in range(5) for us in (0, 1, 30_000_000, 59_999_999)]


@pytest.fixture(scope="module")
def states(clickhouse: ClickHouse, endpoint: Endpoint) -> Iterator[Deployed]:
    database = f"t{uuid.uuid4().hex[:12]}"
    queries = {name: written(sql) for name, sql in FROM_STATES.items()}
    asked = project(SOURCES, {**MODELS, **MINUTES}, queries=queries, examples={"paging": True})
    yield Deployed(planned(asked, database), clickhouse)
    for suffix in ("", "_raw", "_state"):
        clickhouse.execute(f"DROP DATABASE {database}{suffix} SYNC")


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rows=things(), seed=st.integers(0, 1000))
def test_pages_from_states_and_rows_in_turn(
    pager: Pager, states: Deployed, data: st.DataObject, rows: list[Row], seed: int
) -> None:
    """Each page may be made of states or of rows: put together they are the same answer."""
    rows = [{**row, "seen_at": data.draw(st.none() | st.sampled_from(AROUND), "seen_at")} for row in rows]
    states.insert({"app.things": rows}, seed)
    moment = data.draw(st.sampled_from(AROUND), "as_of")
    part = rows[0]["part"] if rows else ""
    form, size = BY_SUFFIX["arrow"], data.draw(st.integers(1, 4), "page_size")
    turns = data.draw(st.text("yn", min_size=1, max_size=4), "rows may be read")
    for spec in states.plan.lambdas:
        given = {"part": part} | ({"as_of": moment.isoformat()} if spec.window is not None else {})
        entry = Entry.of(spec, windowed=True)
        turning = turned(pager.endpoint, entry, form, iter(lambda: size, None), given, turns)
        pages, whole = asyncio.run(turning), pager.whole(spec, rows, part=part, as_of=moment)
        columns = [values(pages, form, c.name) for c in spec.columns]
        assert [tuple(map(_plain, row)) for row in zip(*columns, strict=True)] == whole, (spec.name, entry.after)


def _plain(value: Any) -> Any:
    """Without the time zone that DuckDB's TIMESTAMP has none of."""
    return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value


def test_which_pages_read_states(states: Deployed) -> None:
    specs = {spec.name: spec for spec in states.plan.lambdas}
    for name in ("windows", "several"):
        window = specs[name].window
        assert window is not None, specs[name].events
        assert "_state." in window.select
        assert "_state." in window.after
    for name in ("direct", "counted"):
        direct = specs[name].direct
        assert direct is not None
        assert "_state." in direct.select
        assert "_state." in direct.after


@pytest.mark.parametrize("changed", ["ttl", "float"])
def test_where_places_could_differ_rows_are_read(changed: str) -> None:
    options = {"event_time": "seen_at", "ttl": "30 days"} if changed == "ttl" else {}
    sources = {"app.things": Declared(COLUMNS, not_null=("id", "part"), options=options)}
    value = "max(f)" if changed == "float" else "max(n)"
    minutes = MINUTES["minutes"].replace("max(n)", "max(f) as f, max(n)")
    sql = f"select k, {value} as most from {{{{ ref('things') }}}} where {PART} and {LAST} group by k order by most, k"
    asked = project(sources, {**MODELS, "minutes": minutes}, queries={"q": written(sql)}, examples={"paging": True})
    (spec,) = planned(asked, "x").lambdas
    assert spec.window is None
    assert ("expire" if changed == "ttl" else "ordered by floats") in spec.events
