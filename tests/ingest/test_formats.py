"""CSV and Arrow beside JSON: the same values land, and the same rows are in quarantine with the same reasons."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # has no types
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError
from realtime.ingest import csv
from realtime.ingest.bodies import pieces
from realtime.ingest.intake import Limits
from realtime.ingest.schema import Checked, Schema
from realtime.planner.ir import SourceSpec
from tests.ingest.rows import deployed, quarantined
from tests.ingest.served import served
from tests.ingest.test_events import call
from tests.landing import source

COLUMNS = {
    "id": "BIGINT",
    "name": "VARCHAR",
    "amount": "DECIMAL(20,4)",
    "ratio": "DOUBLE",
    "good": "BOOLEAN",
    "at": "TIMESTAMP",
    "zoned": "TIMESTAMP WITH TIME ZONE",
    "day": "DATE",
    "more": "JSON",
    "numbers": "BIGINT[]",
}
CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"
MIB = 2**20


@pytest.fixture
def spec(database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.events", not_null=("id",))


@pytest.fixture
def url(endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec) -> Iterator[str]:
    with served(endpoint, deployed(clickhouse, database, spec), Limits()) as address:
        yield f"{address}/v1/events/app.events"


def stream(**columns: Any) -> bytes:
    """An Arrow IPC stream."""
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def checked(body: bytes, columns: dict[str, str], content_type: str = CSV, size: int = MIB) -> Checked:
    """A body's rows, checked."""
    spec = source("d", columns)
    found = [Schema(spec).check(piece) for piece in pieces(body, content_type, spec, size)]
    return Checked(b"".join(f.rows for f in found), sum(f.count for f in found), [b for f in found for b in f.bad])


def rows_of(found: Checked) -> list[Any]:
    return [json.loads(line) for line in found.rows.splitlines()]


def test_csv_lands_exactly_and_what_does_not_fit_is_kept_with_its_header(
    clickhouse: ClickHouse, url: str, spec: SourceSpec
) -> None:
    body = (
        "id,name,amount,ratio,good,at,zoned,day,more,numbers\r\n"
        '1,"a ""quoted"", text\nin two lines",1234567890123456.7891,0.1,true,2018-04-01 10:00:00.5,'
        '2018-04-01T12:00:00+02:00,2018-04-01,"{""a"": 1.0}","[1,2]"\r\n'
        '2,"",,nan,f,2018-04-01,,,,[]\r\n'
        "\r\n"
        "3,007,1.23456,1,1,,,,,[]\r\n"
        "4,too,short\r\n"
        'x,"ä€😀",,,,,,,,[]\r\n'
    )
    for sent, encoding in ((gzip.compress(body.encode()), "gzip"), (zstandard.compress(body.encode()), "zstd")):
        status, answer, _ = call(url, sent, Content_Type=CSV, Content_Encoding=encoding, Idempotency_Key="k" + encoding)
        assert (status, answer) == (200, {"successful_rows": 2, "quarantined_rows": 3})
    rows = clickhouse.rows(f"SELECT DISTINCT * EXCEPT (_ingested_at, _batch_id) FROM {spec.landing} ORDER BY id")
    assert len(rows) == 2
    assert rows[0]["name"] == 'a "quoted", text\nin two lines'
    assert rows[0]["amount"] == Decimal("1234567890123456.7891")
    assert (rows[0]["ratio"], rows[0]["good"], rows[0]["more"]) == (0.1, True, '{"a": 1.0}')
    assert rows[0]["zoned"].astimezone(dt.UTC) == dt.datetime(2018, 4, 1, 10, tzinfo=dt.UTC)
    assert rows[0]["numbers"] == [1, 2]
    assert (rows[1]["name"], rows[1]["amount"], rows[1]["good"], str(rows[1]["ratio"])) == ("", None, False, "nan")
    assert quarantined(clickhouse, spec)[::2] == [
        ("3,007,1.23456,1,1,,,,,[]", ("amount",), ("1.23456 has more than 4 places (DECIMAL(20,4))",)),
        ("4,too,short", (), ("the row has 3 fields, the header 10",)),
        ('x,"ä€😀",,,,,,,,[]', ("id",), ('expected a whole number, got "x"',)),
    ]
    header = clickhouse.value(f"SELECT DISTINCT header FROM {spec.quarantine}")
    assert header == "id,name,amount,ratio,good,at,zoned,day,more,numbers"


def test_arrow_lands_exactly(clickhouse: ClickHouse, url: str, spec: SourceSpec) -> None:
    moment = dt.datetime(2018, 4, 1, 10, 0, 0, 500_000)
    body = stream(
        id=pa.array([1, 2, 2**63], pa.uint64()),
        name=pa.array(['a "b"\n', None, "c"]).dictionary_encode(),
        amount=pa.array([Decimal("1234567890123456.7891"), None, None], pa.decimal128(20, 4)),
        ratio=[0.1, float("nan"), float("-inf")],
        good=[True, False, None],
        at=pa.array([moment, None, None], pa.timestamp("ms")),
        zoned=pa.array([moment, None, None], pa.timestamp("us", "America/New_York")),
        day=pa.array([moment.date(), None, None]),
        more=['{"a": 1.0}', None, "{"],
        numbers=[[1, 2], [], []],
    )
    status, answer, _ = call(url, body, Content_Type=ARROW)
    assert (status, answer) == (200, {"successful_rows": 2, "quarantined_rows": 1})
    rows = clickhouse.rows(f"SELECT * FROM {spec.landing} ORDER BY id")
    assert rows[0]["name"] == 'a "b"\n'
    assert (rows[0]["amount"], rows[0]["ratio"]) == (Decimal("1234567890123456.7891"), 0.1)
    assert rows[0]["zoned"].astimezone(dt.UTC).replace(tzinfo=None) == rows[0]["at"].replace(tzinfo=None) == moment
    assert (rows[0]["day"], rows[0]["more"], rows[0]["numbers"]) == (moment.date(), '{"a": 1.0}', [1, 2])
    assert (rows[1]["name"], str(rows[1]["ratio"]), rows[1]["numbers"]) == (None, "nan", [])
    ((text, columns, reasons),) = quarantined(clickhouse, spec)
    assert json.loads(text) == {
        **dict.fromkeys(COLUMNS), "id": 2**63, "name": "c", "ratio": "-inf", "more": "{", "numbers": [],
    }  # fmt: skip
    assert columns == ("id", "more")[: len(columns)]
    assert "is outside BIGINT" in reasons[0]


def test_a_hundred_thousand_rows_in_both_forms(clickhouse: ClickHouse, url: str, spec: SourceSpec) -> None:
    count = 100_000
    lines = "".join(f'{i},"name {i}",[{i}]\n' for i in range(count))
    assert call(url, f"id,name,numbers\n{lines}".encode(), Content_Type=CSV)[0] == 200
    arrow = stream(id=range(count), name=[f"name {i}" for i in range(count)], numbers=[[i] for i in range(count)])
    assert call(url, zstandard.compress(arrow), Content_Type=ARROW, Content_Encoding="zstd")[0] == 200
    same = "count() AS rows, uniqExact(id, name, numbers) AS different, sum(id) AS sum"
    (found,) = clickhouse.rows(f"SELECT {same} FROM {spec.landing}")
    assert found == {"rows": 2 * count, "different": count, "sum": count * (count - 1)}


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (b"1,a", [{"i": 1, "t": "a"}]),
        (b'"1","a,""b"""', [{"i": 1, "t": 'a,"b"'}]),
        (b'1,"a\r\nb"', [{"i": 1, "t": "a\r\nb"}]),
        (b"1,a\tb\\n", [{"i": 1, "t": "a\tb\\n"}]),
        (b",", [{}]),
        (b',""', [{"t": ""}]),
        (b"1, ", [{"i": 1, "t": " "}]),
        (b"1,NULL", [{"i": 1, "t": "NULL"}]),
        (b'1,a"b', "a quote is out of place"),
        (b'1,"a"b', "a quote is out of place"),
        (b'1,"a', "a quote is out of place"),
        (b"1", "the row has 1 fields, the header 2"),
        (b"1,a,", "the row has 3 fields, the header 2"),
        (b"01,a", [{"i": 1, "t": "a"}]),
        (b"1.5,a", "expected a whole number, got 1.5"),
        (b'"",a', 'expected a whole number, got ""'),
        (b"1,\xff", "is not UTF-8"),
    ],
)
def test_rfc_4180(line: bytes, values: Any) -> None:
    columns = {"i": "BIGINT", "t": "VARCHAR"}
    for body in (b"i,t\n" + line, b'\xef\xbb\xbf"i",t\r\n5,x\r\n' + line + b"\r\n"):
        found = checked(body, columns)
        if isinstance(values, str):
            assert values in found.bad[0].reasons[0]
            assert found.bad[0].row == line.decode(errors="backslashreplace")
            assert found.bad[0].header.strip('"').startswith("i")
        else:
            assert rows_of(found)[-1:] == values
    spread = b"i,t\n" + b"".join(b"%d,x\n" % i for i in range(5)) + line + b"\n"
    assert checked(spread, columns).count == (5 if isinstance(values, str) else 6)


def test_columns_that_are_not_declared_are_refused_row_by_row() -> None:
    found = checked(b"i,other\n1,a\n2,\n", {"i": "BIGINT"})
    assert [(b.row, b.columns) for b in found.bad] == [("1,a", ("other",)), ("2,", ("other",))]
    found = checked(stream(i=[1], other=["a"]), {"i": "BIGINT"}, ARROW)
    assert [(b.row, b.columns) for b in found.bad] == [('{"i":1,"other":"a"}', ("other",))]


def test_separators() -> None:
    columns = {"a": "BIGINT", "b": "VARCHAR"}
    for content_type, body in (
        ('text/csv; delimiter=";"', b"a;b\n1;x,y\n"),
        ("text/csv;delimiter=\\t", b"a\tb\n1\tx,y\n"),
        ("text/tab-separated-values", b"a\tb\n1\tx,y\n"),
    ):
        assert rows_of(checked(body, columns, content_type)) == [{"a": 1, "b": "x,y"}]


def compressed() -> bytes:
    table = pa.table({"a": [1, 2]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


BOMB = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int8()), ["x" * 10_000])


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"", CSV, "the body is empty"),
        (b"\n\n", CSV, "the first line of the CSV is no header: ''"),
        (b"a,,b\n", CSV, "the first line of the CSV is no header: 'a,,b'"),
        (b"a,a\n1,2\n", CSV, "the CSV's header names a twice"),
        (b"1,2\n", "text/csv; header=absent", "CSV without a header"),
        (b"a#b\n", 'text/csv; delimiter="#"', "delimiter '#' is not known"),
        (b"n" * 1000 + b"\n" + b"1\n" * 100_000, CSV, "the rows of the body could be larger than 4 MiB as JSON"),
        (b"{}", ARROW, "the body is no Arrow IPC stream that can be read"),
        (stream(a=[1, 2])[:-40], ARROW, "the body is no Arrow IPC stream that can be read"),
        (compressed(), ARROW, "the Arrow stream holds compressed buffers"),
        (stream(a=[b"x"]), ARROW, "the Arrow stream: column a is BLOB"),
        (stream(a=BOMB), ARROW, "the rows of the Arrow stream are larger than 4 MiB as JSON"),
        (stream(a=pa.array([1] * 700_000, pa.int8())), ARROW, "the rows of the Arrow stream are larger than 4 MiB"),
    ],
)
def test_what_can_not_be_read_at_all(body: bytes, content_type: str, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        checked(body, {"a": "BIGINT"}, content_type)
    assert caught.value.message.startswith(message)
    assert caught.value.remedy


def test_what_polars_writes_can_be_read() -> None:
    views = pa.array(["a", "a longer text than fits", None], pa.string_view())
    found = checked(stream(a=views), {"a": "VARCHAR"}, ARROW)
    assert rows_of(found) == [{"a": "a"}, {"a": "a longer text than fits"}, {}]


def test_a_broken_arrow_stream_is_refused_whatever_is_broken() -> None:
    good = stream(a=["x", "yy", None], n=[[1], [], [2, 3]])
    for place in range(8, len(good), 3):
        bad = bytearray(good)
        bad[place] ^= 0xFF
        with contextlib.suppress(BadRequestError):
            checked(bytes(bad), {"a": "VARCHAR", "n": "BIGINT[]"}, ARROW)


def test_records_are_found_whatever_is_in_their_quotes() -> None:
    rows = [b'1,"a\nb"\n', b'2,"""\n"""\n', b"3,c\n"]
    assert list(csv.records(io.BytesIO(b"\n".join(rows)))) == rows


FIELDS = ("", "1", "x", "2.5", '""', '"1"', '"a,b"', '"a\nb"', '"a""b"', '"\\é"', "%b", "NaN", 'a"b', "1\r")


@given(
    rows=st.lists(st.lists(st.sampled_from(FIELDS), min_size=2, max_size=4).map(",".join), max_size=6),
    end=st.sampled_from(("\n", "\r\n")),
    size=st.integers(2, 60),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_rows_together_are_read_as_each_by_itself(rows: list[str], end: str, size: int) -> None:
    spec = source("x", {"a": "VARCHAR", "b": "DECIMAL(4,2)", "c": "BIGINT"})
    body = (f"b,a,c{end}" + end.join(rows)).encode()
    table = csv.Table(b"b,a,c\n", ",", spec)
    schema = Schema(spec)
    alone = [schema.check(table.piece(row)) for row in csv.records(io.BytesIO(body.partition(b"\n")[2]))]
    together = [schema.check(piece) for piece in csv.pieces(body, ",", spec, size, MIB)]
    assert b"".join(c.rows for c in together) == b"".join(c.rows for c in alone)
    assert [bad for c in together for bad in c.bad] == [bad for c in alone for bad in c.bad]
