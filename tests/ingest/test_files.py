"""Files through a real server, whatever their format: each row once, every value exact."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BadRequestError, NotFoundError, UnavailableError
from realtime.ingest.files import load, source_of
from realtime.ingest.intake import Limits
from realtime.planner.ir import Plan, SourceSpec
from tests.ingest.rows import deployed, ndjson, quarantined, row
from tests.ingest.served import served
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


@pytest.fixture
def spec(database: str) -> SourceSpec:
    return source(database, COLUMNS, name="app.events", not_null=("id",))


@pytest.fixture
def url(endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec) -> Iterator[str]:
    """A server with the events route."""
    with served(endpoint, deployed(clickhouse, database, spec), Limits()) as address:
        yield address


def ignore(done: int, total: int) -> None:
    """No progress bar."""


def test_a_repeated_load_counts_once(clickhouse: ClickHouse, url: str, spec: SourceSpec, tmp_path: Path) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(b"".join(b'{"id":%d,"numbers":[]}\n' % i for i in range(12_000)) + b'\n{"id":"x"}\n')
    seen: list[tuple[int, int]] = []
    loaded = load(url, spec, [file], lambda done, total: seen.append((done, total)))
    assert (loaded.successful_rows, loaded.quarantined_rows) == (12_000, 1)
    assert loaded.places == (f"{file}: rows 10001-12002: 1 in quarantine",)
    assert seen[0] == (0, 12_002)
    assert seen[-1] == (12_002, 12_002)
    assert loaded.rate > 0
    again = load(url, spec, [file], ignore)
    assert again.successful_rows == 12_000
    packed = tmp_path / "other.ndjson.gz"
    packed.write_bytes(gzip.compress(b'{"id":12000,"numbers":[]}\n'))
    load(url, spec, [packed], ignore)
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 12_001
    assert len(quarantined(clickhouse, spec)) == 1


def test_files_of_one_name_and_content_are_two(
    clickhouse: ClickHouse, url: str, spec: SourceSpec, tmp_path: Path
) -> None:
    files = [tmp_path / day / "part.ndjson" for day in ("day1", "day2")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(b'{"id":1,"numbers":[]}\n')
    for _ in range(2):
        assert load(url, spec, files, ignore).successful_rows == 2
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 2


def test_csv_is_exact(clickhouse: ClickHouse, url: str, spec: SourceSpec, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(
        "id,name,amount,ratio,good,at,zoned,day,more,numbers\n"
        '1,"a ""quoted"", text\nin two lines",1234567890123456.7891,0.1,true,2018-04-01 10:00:00.5,'
        '2018-04-01T12:00:00+02:00,2018-04-01,"{""a"": 1.0}","[1,2]"\n'
        '2,"",,nan,f,2018-04-01,,,,[]\n'
        "3,007,1.23456,1,1,,,,,[]\n"
    )
    loaded = load(url, spec, [file], ignore)
    assert (loaded.successful_rows, loaded.quarantined_rows) == (2, 1)
    rows = clickhouse.rows(f"SELECT * EXCEPT _ingested_at FROM {spec.landing} ORDER BY id")
    assert rows[0]["name"] == 'a "quoted", text\nin two lines'
    assert rows[0]["amount"] == Decimal("1234567890123456.7891")
    assert (rows[0]["ratio"], rows[0]["good"], rows[0]["more"]) == (0.1, True, '{"a": 1.0}')
    assert rows[0]["zoned"].astimezone(dt.UTC) == dt.datetime(2018, 4, 1, 10, tzinfo=dt.UTC)
    assert rows[0]["numbers"] == [1, 2]
    assert (rows[1]["name"], rows[1]["amount"], rows[1]["good"], str(rows[1]["ratio"])) == ("", None, False, "nan")
    ((text, columns, reasons),) = quarantined(clickhouse, spec)
    assert text == "3,007,1.23456,1,1,,,,,[]"
    assert (columns, reasons) == (("amount",), ("1.23456 has more than 4 places (DECIMAL(20,4))",))


def test_parquet_is_exact(clickhouse: ClickHouse, url: str, spec: SourceSpec, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT i AS id, 'n' || i AS name, (i / 7)::DECIMAL(20,4) AS amount, i / 3 AS ratio, "
            "i % 2 = 0 AS good, TIMESTAMP '2018-04-01 10:00:00.123456' + to_seconds(i) AS at, "
            "CASE WHEN i > 1 THEN TIMESTAMPTZ '2018-04-01 12:00:00+02' END AS zoned, DATE '2018-04-01' AS day, "
            f"'{{\"i\": ' || i || '}}' AS more, [i, NULL]::BIGINT[] AS numbers FROM range(6000) t(i)) TO '{file}'"
        )
        loaded = load(url, spec, [file], ignore)
        assert (loaded.successful_rows, loaded.quarantined_rows) == (6_000, 0)
        connection.execute("SET TimeZone = 'UTC'")
        columns = ", ".join(c for c in COLUMNS if c not in ("at", "zoned"))
        select = f'SELECT {columns}, CAST("at" AS VARCHAR) AS moment, CAST(zoned AS TIMESTAMP) AS zoned FROM'
        theirs = connection.execute(f"{select} '{file}' ORDER BY id").fetchall()
    ours = clickhouse.rows(f"SELECT {columns}, toString(at) AS at, zoned FROM {spec.landing} ORDER BY id")
    assert [tuple(r.values())[:-1] for r in ours] == [r[:-1] for r in theirs]
    assert [r["zoned"] and r["zoned"].replace(tzinfo=None) for r in ours] == [r[-1] for r in theirs]


def test_errors_name_file_and_line(url: str, spec: SourceSpec, tmp_path: Path) -> None:
    files = {
        "a.csv": "id,nmae\n1,x\n",
        "b.csv": '"id\n1,x\n',
        "c.xlsx": "",
        "d.ndjson": "[1,\n2]",
        "e.parquet": "no parquet",
        "f.ndjson.gz": "no gzip",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    expected = {
        "a.csv": r"a\.csv: column nmae is not declared; did you mean name\?",
        "b.csv": r"b\.csv: the first line of the CSV is no header",
        "c.xlsx": r"c\.xlsx: a file of this kind can't be read",
        "d.ndjson": r"d\.ndjson: line 1 starts a JSON array",
        "e.parquet": r"e\.parquet: ",
        "f.ndjson.gz": r"f\.ndjson\.gz: ",
        "g.ndjson": r"g\.ndjson: there is no such file",
    }
    for name, message in expected.items():
        with pytest.raises(BadRequestError, match=message):
            load(url, spec, [tmp_path / name], ignore)


def test_a_server_that_refuses_or_is_not_there(url: str, spec: SourceSpec, tmp_path: Path) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(ndjson(row(1)))
    other = source("none", COLUMNS, name="app.other")
    with pytest.raises(NotFoundError, match=r"rows\.ndjson: rows 1-1: no source 'app\.other'") as caught:
        load(url, other, [file], ignore)
    assert caught.value.remedy == "known sources are app.events"
    with pytest.raises(UnavailableError, match="does not answer"):
        load("http://127.0.0.1:9", spec, [file], ignore)
    with pytest.raises(NotFoundError, match="no source 'x'"):
        source_of(Plan(project="p", database="d", sources=(spec,), steps=()), "x")


def test_a_busy_server_is_waited_for(
    endpoint: Endpoint, clickhouse: ClickHouse, database: str, spec: SourceSpec, tmp_path: Path
) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(b"".join(b'{"id":%d,"numbers":[]}\n' % i for i in range(20_000)))
    with served(endpoint, deployed(clickhouse, database, spec), Limits(waiting=600_000)) as address:
        assert load(address, spec, [file], ignore).successful_rows == 20_000
    assert clickhouse.value(f"SELECT count() FROM {spec.landing}") == 20_000
