"""What a column takes and what it refuses, by value; what lands is what DuckDB reads from the same text."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
import math
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.intake import Intake
from realtime.ingest.piece import Piece, Row, of_rows
from realtime.ingest.request import Taken
from realtime.ingest.schema import Checked, Schema
from realtime.ingest.values import codec, optional
from realtime.planner.ir import SourceSpec
from realtime.transpile.types import duck_type
from tests.ingest.rows import deployed
from tests.landing import source


def checked(columns: dict[str, str], *lines: str | bytes, **options: Any) -> Checked:
    """The rows of a source of ``columns``, checked."""
    rows = [line.encode() if isinstance(line, str) else line for line in lines]
    return Schema(source("d", columns, **options)).check(of_rows(rows))


def landed(kind: str, text: str) -> Any:
    """What is sent to ClickHouse for the JSON text of one value, or the reason why nothing is."""
    found = checked({"v": kind}, f'{{"v":{text}}}')
    return msgspec.json.decode(found.rows).get("v") if found.count else found.bad[0].reasons[0]


ACCEPTED = [
    ("TINYINT", "-128", -128),
    ("TINYINT", '"127"', 127),
    ("BIGINT", "9223372036854775807", 9223372036854775807),
    ("BIGINT", "1e3", 1000),
    ("BIGINT", "5.0", 5),
    ("UBIGINT", "18446744073709551615", 18446744073709551615),
    ("HUGEINT", "-170141183460469231731687303715884105728", -(2**127)),
    ("HUGEINT", '"170141183460469231731687303715884105727"', 2**127 - 1),
    ("UHUGEINT", "340282366920938463463374607431768211455", 2**128 - 1),
    ("DOUBLE", "0.1", 0.1),
    ("DOUBLE", "5e-324", 5e-324),
    ("DOUBLE", '"-Infinity"', "-inf"),
    ("DOUBLE", '"NaN"', "nan"),
    ("DOUBLE", '"1.5"', 1.5),
    ("FLOAT", "0.1", 0.10000000149011612),
    ("DECIMAL(10,2)", "1.5", "1.50"),
    ("DECIMAL(10,2)", "-12345678.91", "-12345678.91"),
    ("DECIMAL(10,2)", '"1.500"', "1.50"),
    ("DECIMAL(10,2)", "1e2", "100.00"),
    ("DECIMAL(38,10)", "1234567890123456789012345678.1234567891", "1234567890123456789012345678.1234567891"),
    ("BOOLEAN", "true", True),
    ("VARCHAR", '"a\\u0000b\\ud83d\\ude00"', "a\0b😀"),
    ("DATE", '"1900-01-01"', "1900-01-01"),
    ("DATE", '"2018-4-1"', "2018-04-01"),
    ("DATE", '"2018-04-01T00:00:00Z"', "2018-04-01"),
    ("TIMESTAMP", '"2018-04-01T10:00:00.123456Z"', "2018-04-01T10:00:00.123456Z"),
    ("TIMESTAMP", '"2018-04-01 10:00:00"', "2018-04-01T10:00:00"),
    ("TIMESTAMP", '"2018-04-01"', "2018-04-01T00:00:00"),
    ("TIMESTAMP", '"2018-04-01 10:00"', "2018-04-01T10:00:00"),
    ("TIMESTAMP", '"2018-04-01T10:00:00.123456000Z"', "2018-04-01T10:00:00.123456"),
    ("TIMESTAMP", '"2018-04-01T10:00:00+00:00"', "2018-04-01T10:00:00Z"),
    ("TIMESTAMP_MS", '"2018-04-01T10:00:00.123"', "2018-04-01T10:00:00.123000"),
    ("TIMESTAMP_NS", '"2018-04-01T10:00:00.123456789Z"', "2018-04-01T10:00:00.123456789"),
    ("TIMESTAMP WITH TIME ZONE", '"2018-04-01T10:00:00+02:00"', "2018-04-01T08:00:00Z"),
    ("TIMESTAMP WITH TIME ZONE", '"2018-04-01 10:00:00.5-0330"', "2018-04-01T13:30:00.500000Z"),
    ("TIME", '"23:59:59.999999"', "23:59:59.999999"),
    ("UUID", '"123E4567-e89b-12d3-a456-426614174000"', "123e4567-e89b-12d3-a456-426614174000"),
    ("JSON", '{"a" : 1.0, "b":[1e2]}', '{"a" : 1.0, "b":[1e2]}'),
    ("JSON", '"text"', '"text"'),
    ("JSON", "null", None),
    ("ENUM('a', 'it''s')", '"it\'s"', "it's"),
    ("BIGINT[]", "[1,null,3]", [1, None, 3]),
    ("FLOAT[3]", '[1,0.1,"-2e0"]', [1.0, 0.10000000149011612, -2.0]),
    ("DECIMAL(4,1)[]", '[1,"2.5"]', ["1.0", "2.5"]),
    ("BIGINT[][]", "[[1],[]]", [[1], []]),
    ("TIMESTAMP[]", '["2018-04-01T10:00:00Z","2018-04-01"]', ["2018-04-01T10:00:00", "2018-04-01T00:00:00"]),
    ("STRUCT(a BIGINT, b VARCHAR)", '{"a":1}', {"a": 1, "b": None}),
    ("STRUCT(a DECIMAL(4,1), b BIGINT[])", '{"a":1,"b":[2]}', {"a": "1.0", "b": [2]}),
    ("MAP(VARCHAR, BIGINT)", '{"x":1,"y":null}', {"x": 1, "y": None}),
    ("BIGINT", "null", None),
]

REFUSED = [
    ("TINYINT", "128", "128 is outside TINYINT (-128 to 127)"),
    ("UINTEGER", "-1", "-1 is outside UINTEGER (0 to 4294967295)"),
    ("UBIGINT", "18446744073709551616", "18446744073709551616 is outside UBIGINT (0 to 18446744073709551615)"),
    ("BIGINT", "9007199254740993.5", "expected a whole number, got 9007199254740993.5"),
    ("BIGINT", "1e999999", "expected a whole number, got 1e999999"),
    ("BIGINT", "true", "expected a whole number, got true"),
    ("BIGINT", '"x"', 'expected a whole number, got "x"'),
    ("DOUBLE", "1e999", "1e999 is outside DOUBLE"),
    ("DOUBLE", "1e99999999999999999999", "1e99999999999999999999 has too large an exponent"),
    ("DOUBLE", '"-1e99999999999999999999"', '"-1e99999999999999999999" has too large an exponent'),
    ("BIGINT", "1e99999999999999999999", "1e99999999999999999999 has too large an exponent"),
    ("DECIMAL(10,2)", "1e99999999999999999999", "1e99999999999999999999 has too large an exponent"),
    ("DOUBLE", '"1,5"', 'expected a number, got "1,5"'),
    ("FLOAT", "1e39", "1e39 is outside FLOAT"),
    ("DECIMAL(10,2)", "1.005", "1.005 has more than 2 places (DECIMAL(10,2))"),
    ("DECIMAL(10,2)", "123456789", "123456789 has more than 8 digits before the point (DECIMAL(10,2))"),
    ("DECIMAL(10,2)", '"NaN"', 'expected a number, got "NaN"'),
    ("DECIMAL(10,2)", "1e-999999", "1e-999999 has more than 2 places (DECIMAL(10,2))"),
    ("BOOLEAN", "1", "expected true or false, got 1"),
    ("VARCHAR", "5", "expected text, got 5"),
    ("VARCHAR", '"\\ud800"', "the row is not JSON: Input data was truncated"),
    ("JSON", '{"a":"\\ud800"}', "the row is not JSON: Input data was truncated"),
    ("DATE", '"2018-02-30"', "'2018-02-30' is no date of the form YYYY-MM-DD"),
    ("DATE", '"1899-12-31"', "'1899-12-31' is outside 1900-01-01 to 2299-12-31"),
    ("DATE", '"2018-04-01T10:00:00"', "'2018-04-01T10:00:00' has a time of day, which a DATE can't hold"),
    ("TIMESTAMP", '"2018-04-01T10:00:00.1234567"', "'2018-04-01T10:00:00.1234567' has more than 6 places of a second"),
    (
        "TIMESTAMP",
        '"2018-04-01T10:00:00\\u002e1234567"',
        "'2018-04-01T10:00:00.1234567' has more than 6 places of a second",
    ),
    (
        "TIMESTAMP",
        '"2018-04-01T10:00:00+02:00"',
        "'2018-04-01T10:00:00+02:00' has an offset, which a TIMESTAMP can't hold: send UTC, or declare TIMESTAMPTZ",
    ),
    ("TIMESTAMP", '"2300-01-01T00:00:00"', "'2300-01-01T00:00:00' is outside 1900-01-01 to 2299-12-31"),
    ("TIMESTAMP", "1522576800", "expected text, got 1522576800"),
    ("TIMESTAMP", '"2018-04-01T25:00:00"', "'2018-04-01T25:00:00' is no time of the form HH:MM:SS"),
    ("TIMESTAMP_S", '"2018-04-01T10:00:00.5"', "'2018-04-01T10:00:00.5' has more than 0 places of a second"),
    (
        "TIMESTAMP WITH TIME ZONE",
        '"1900-01-01T00:00:00+01:00"',
        "'1900-01-01T00:00:00+01:00' is outside 1900-01-01 to 2299-12-31",
    ),
    ("UUID", '"x"', 'expected a UUID, got "x"'),
    ("ENUM('a', 'b')", '"c"', '"c" is none of a, b'),
    ("BIGINT[]", "null", "is NULL, which a list can't be: send []"),
    ("BIGINT[]", "[1,2.5]", "item 2: expected a whole number, got 2.5"),
    ("BIGINT[]", "5", "expected a list, got 5"),
    ("FLOAT[3]", "null", "is NULL, which a FLOAT[3] can't be"),
    ("FLOAT[3]", "5", "expected a list of numbers, got 5"),
    ("FLOAT[3]", "[1,2]", "expected a list of 3 numbers, got 2"),
    ("FLOAT[3]", "[1,2,3,4]", "expected a list of 3 numbers, got 4"),
    ("FLOAT[3]", "[1,null,3]", "item 2: is NULL, which no number of a FLOAT[3] can be"),
    ("FLOAT[3]", '[1,2,"NaN"]', "item 3: is not a finite number"),
    ("FLOAT[3]", '["-inf",2,3]', "item 1: is not a finite number"),
    ("FLOAT[3]", "[1,1e39,3]", "item 2: 1e39 is outside FLOAT"),
    ("FLOAT[3]", "[1,true,3]", "item 2: expected a number, got true"),
    ("STRUCT(a BIGINT, b VARCHAR)", '{"a":1,"c":2}', "field c is not declared"),
    ("STRUCT(a BIGINT, b VARCHAR)", '{"a":"x"}', 'field a: expected a whole number, got "x"'),
    ("BLOB", '"x"', "a BLOB can't be sent as JSON"),
]


@pytest.mark.parametrize(("kind", "text", "expected"), ACCEPTED)
def test_accepted(kind: str, text: str, expected: Any) -> None:
    found = landed(kind, text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("kind", "text", "reason"), REFUSED)
def test_refused(kind: str, text: str, reason: str) -> None:
    assert landed(kind, text) == reason


@pytest.mark.parametrize("required", [(), ("v",)])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BIGINT", 1),
        ("UHUGEINT", 1),
        ("FLOAT", 1.5),
        ("DECIMAL(10,2)", "1.50"),
        ("VARCHAR", "x"),
        ("BOOLEAN", True),
        ("DATE", "2018-04-01"),
        ("TIMESTAMP", "2018-04-01T10:00:00.123456Z"),
        ("TIMESTAMP WITH TIME ZONE", "2018-04-01T10:00:00+02:00"),
        ("UUID", "123e4567-e89b-12d3-a456-426614174000"),
        ("JSON", {"a": 1}),
        ("ENUM('a', 'b')", "a"),
        ("BIGINT[]", [1, None]),
        ("FLOAT[3]", [1, 0.1, -2e-3]),
        ("JSON[]", [{}, None]),
        ("STRUCT(a BIGINT)", {"a": 1}),
    ],
)
def test_common_spellings_take_the_fast_way(kind: str, value: Any, required: tuple[str, ...]) -> None:
    schema = Schema(source("d", {"v": kind}, not_null=required))

    def slow() -> list[Row]:
        raise AssertionError(kind)

    assert schema.check(Piece(json.dumps({"v": value}).encode(), slow)).count == 1


def test_null_and_missing() -> None:
    columns = {"a": "BIGINT", "b": "VARCHAR", "j": "JSON"}
    good = checked(columns, '{"a":1,"j":1}', '{"j":{},"a":2,"b":null}', not_null=("a", "j"))
    assert good.rows == b'{"a":1,"j":"1"}\n{"a":2,"j":"{}"}\n'
    bad = checked(columns, '{"b":"x"}', '{"a":null,"j":null}', not_null=("a", "j")).bad
    assert [row.columns for row in bad] == [("a", "j"), ("a", "j")]
    assert bad[0].reasons == ("is missing, and must not be NULL",) * 2
    assert bad[1].reasons == ("must not be NULL",) * 2


def test_one_bad_row_keeps_the_order_of_the_others() -> None:
    found = checked({"n": "BIGINT"}, '{"n":1}', '{"n":"x"}', '{"n":"3"}', '{"n":4}')
    assert found.rows == b'{"n":1}\n{"n":3}\n{"n":4}\n'
    assert [row.row for row in found.bad] == ['{"n":"x"}']


def test_names_of_every_kind() -> None:
    columns = {"order by": "BIGINT", "ü": "VARCHAR", "_x": "BIGINT", "class": "BIGINT", 'q"`\\': "BIGINT"}
    row = json.dumps({"order by": 1, "ü": "é", "_x": 2, "class": 3, 'q"`\\': 4})
    assert msgspec.json.decode(checked(columns, row).rows) == json.loads(row)


# -- what lands is what DuckDB reads

KINDS = {
    "i8": ("TINYINT", st.integers(-128, 127)),
    "i64": ("BIGINT", st.integers(-(2**63), 2**63 - 1)),
    "u64": ("UBIGINT", st.integers(0, 2**64 - 1)),
    "f": ("DOUBLE", st.floats(allow_nan=False, allow_infinity=False)),
    "f32": ("FLOAT", st.floats(-1e38, 1e38)),
    "d": ("DECIMAL(18,4)", st.decimals(-(10**13), 10**13, places=4, allow_nan=False).map(lambda d: f"{d:f}")),
    "b": ("BOOLEAN", st.booleans()),
    "t": ("VARCHAR", st.text()),
    "dt": ("DATE", st.dates(dt.date(1900, 1, 1), dt.date(2299, 12, 31)).map(str)),
    "ts": ("TIMESTAMP", st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2299, 12, 31)).map(lambda m: m.isoformat())),
    "tz": (
        "TIMESTAMP WITH TIME ZONE",
        st.datetimes(
            dt.datetime(1901, 1, 1),
            dt.datetime(2299, 1, 1),
            timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m))),
        ).map(lambda m: m.isoformat(" ")),
    ),
    "u": ("UUID", st.uuids().map(str)),
    "v": ("FLOAT[3]", st.lists(st.floats(-1e38, 1e38), min_size=3, max_size=3)),
    "l": ("BIGINT[]", st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3)),
}
ROWS = st.lists(
    st.fixed_dictionaries({n: (s if n in "lv" else st.none() | s) for n, (_, s) in KINDS.items()}),
    min_size=1,
    max_size=30,
)


def _comparable(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None) if value.tzinfo is None else value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, float):
        return (value, math.copysign(1, value))
    return [_comparable(v) for v in value] if isinstance(value, (list, tuple)) else value


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_lands_as_duckdb_reads_it(
    rows: list[dict[str, Any]], endpoint: Endpoint, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> None:
    columns = {"n": "INTEGER"} | {n: k for n, (k, _) in KINDS.items()}
    spec = source("roundtrip", columns, name="app.events", not_null=("n",))
    clickhouse.execute("DROP DATABASE IF EXISTS roundtrip_raw SYNC")
    body = "".join(json.dumps({"n": i, **row}, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)).encode()
    asyncio.run(_take(endpoint, clickhouse, spec, body, len(rows)))
    file = tmp_path_factory.mktemp("rows") / "rows.ndjson"
    file.write_bytes(body)
    ours = clickhouse.rows(f"SELECT {', '.join(columns)} FROM {spec.landing} ORDER BY n")
    theirs = _duckdb(file, columns)
    for mine, other in zip(ours, theirs, strict=True):
        assert {k: _comparable(v) for k, v in mine.items()} == {k: _comparable(v) for k, v in other.items()}


async def _take(endpoint: Endpoint, clickhouse: ClickHouse, spec: SourceSpec, body: bytes, count: int) -> None:
    intake = Intake(endpoint, deployed(clickhouse, "roundtrip", spec))
    try:
        assert await intake.take(spec.name, body) == Taken(count, 0)
    finally:
        await intake.close()


def _duckdb(file: Path, columns: dict[str, str]) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        types = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
        found = connection.execute(
            f"SELECT * FROM read_json('{file}', format = 'newline_delimited', columns = {{{types}}}) ORDER BY n"
        )
        names = [d[0] for d in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_every_type_reads_back(endpoint: Endpoint, clickhouse: ClickHouse, database: str) -> None:
    """What DuckDB's reader rounds or lacks: exact in ClickHouse nevertheless."""
    columns = {
        "h": "HUGEINT",
        "d": "DECIMAL(38,10)",
        "ns": "TIMESTAMP_NS",
        "ms": "TIMESTAMP_MS",
        "e": "ENUM('a', 'b')",
        "j": "JSON",
        "s": "STRUCT(a BIGINT, b DECIMAL(10,2)[])",
        "m": "MAP(VARCHAR, BIGINT)",
        "x": "DOUBLE",
        "t": "TIME",
    }
    spec = source(database, columns, name="app.events")
    body = (
        b'{"h":-170141183460469231731687303715884105728,"d":1234567890123456789012345678.1234567891,'
        b'"ns":"2018-04-01T10:00:00.123456789Z","ms":"1969-12-31T23:59:59.999Z","e":"b","j":{"a" : 1.0},'
        b'"s":{"a":1,"b":[1.5,null]},"m":{"k\\u0000":2},"x":"-Infinity","t":"23:59:59.5"}\n'
    )

    async def work() -> None:
        intake = Intake(endpoint, deployed(clickhouse, database, spec))
        try:
            assert await intake.take("app.events", body) == Taken(1, 0)
        finally:
            await intake.close()

    asyncio.run(work())
    select = ", ".join("toString(t) AS t" if c == "t" else "toString(ns) AS ns" if c == "ns" else c for c in columns)
    (row,) = clickhouse.rows(f"SELECT {select} FROM {spec.landing}")
    assert row == {
        "h": -(2**127),
        "d": decimal.Decimal("1234567890123456789012345678.1234567891"),
        "ns": "2018-04-01 10:00:00.123456789",
        "ms": row["ms"],
        "e": "b",
        "j": '{"a" : 1.0}',
        "s": {"a": 1, "b": [decimal.Decimal("1.5"), None]},
        "m": {"k\0": 2},
        "x": float("-inf"),
        "t": "23:59:59.500000",
    }
    assert row["ms"].replace(tzinfo=None) == dt.datetime(1969, 12, 31, 23, 59, 59, 999000)


@pytest.mark.parametrize("kind", ["JSON", "VARCHAR", "BIGINT[]", "STRUCT(a BIGINT)"])
def test_what_is_nested_too_deeply_is_refused(kind: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    found = checked({"v": kind}, '{"v":' + deep + "}", '{"v":null}' if kind in ("JSON", "VARCHAR") else '{"v":1}', deep)
    assert {b.reasons[0] for b in found.bad} & {"is nested too deeply", "the row is nested too deeply"}
    assert len(found.bad) == (2 if kind in ("JSON", "VARCHAR") else 3)


@given(values=st.lists(st.decimals(allow_nan=True, allow_infinity=True, places=None) | st.none(), max_size=4))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_column_is_fixed_as_each_of_its_values(values: list[decimal.Decimal | None]) -> None:
    for kind in ("DECIMAL(4,2)", "DECIMAL(12,0)", "DECIMAL(38,9)"):
        each = optional(codec(duck_type(kind)))
        assert each.fix is not None
        try:
            wanted = [each.fix(value) for value in values]
        except (ValueError, ArithmeticError):
            with pytest.raises((ValueError, ArithmeticError)):
                each.fixed(values)
        else:
            assert [None if found is None else str(found) for found in each.fixed(values)] == wanted
