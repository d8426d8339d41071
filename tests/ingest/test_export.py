"""Landing rows reach the lake once each, whole, with their types, whatever happens meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import BusyError, ConfigError, ParityError
from realtime.ingest.export import MOST_FILES, export
from realtime.ingest.lake import batch_watermark, create_lake_views, open_batch
from realtime.ingest.lake_files import lake_files
from realtime.planner.ir import Plan, SourceSpec
from realtime.settings import Settings
from tests.landing import create, plan_of, project, source

ORDERS = {"id": "BIGINT", "note": "VARCHAR"}

# DuckDB type → the value for ClickHouse, the same value for DuckDB.
TYPES: dict[str, tuple[str, str]] = {
    "TINYINT": ("-128", "-128"),
    "SMALLINT": ("-32768", "-32768"),
    "INTEGER": ("-2147483648", "-2147483648"),
    "BIGINT": ("-9223372036854775808", "-9223372036854775808"),
    "HUGEINT": ("toInt128('-170141183460469231731687303715884105728')", "'-170141183460469231731687303715884105728'"),
    "UTINYINT": ("255", "255"),
    "USMALLINT": ("65535", "65535"),
    "UINTEGER": ("4294967295", "4294967295"),
    "UBIGINT": ("18446744073709551615", "18446744073709551615"),
    "UHUGEINT": ("toUInt128('340282366920938463463374607431768211455')", "'340282366920938463463374607431768211455'"),
    "FLOAT": ("toFloat32('0.1')", "0.1"),
    "DOUBLE": ("nan", "'nan'"),
    "DECIMAL(4,1)": ("toDecimal32('-999.9', 1)", "-999.9"),
    "DECIMAL(18,3)": ("toDecimal64('123456789012345.678', 3)", "123456789012345.678"),
    "DECIMAL(38,10)": (
        "toDecimal128('-1234567890123456789012345678.0123456789', 10)",
        "'-1234567890123456789012345678.0123456789'",
    ),
    "BOOLEAN": ("true", "true"),
    "VARCHAR": ("'naïve 🦆 \\0 \\n\\\\ \"'", "'naïve 🦆 ' || chr(0) || ' ' || chr(10) || chr(92) || ' \"'"),
    "JSON": ("'{\"a\": [1, null]}'", "'{\"a\": [1, null]}'"),
    "BLOB": ("unhex('00FFfe61')", "unhex('00FFfe61')"),
    "ENUM('a', 'b''c')": ("'b\\'c'", "'b''c'"),
    "DATE": ("toDate32('1900-01-01')", "'1900-01-01'"),
    "TIMESTAMP": ("toDateTime64('1901-12-13 20:45:51.999999', 6, 'UTC')", "'1901-12-13 20:45:51.999999'"),
    "TIMESTAMP_S": ("toDateTime64('2299-12-31 23:59:59', 0, 'UTC')", "'2299-12-31 23:59:59'"),
    "TIMESTAMP_MS": ("toDateTime64('2018-11-04 01:30:00.123', 3, 'UTC')", "'2018-11-04 01:30:00.123'"),
    "TIMESTAMP_NS": ("toDateTime64('2018-11-04 01:30:00.123456789', 9, 'UTC')", "'2018-11-04 01:30:00.123456789'"),
    "TIMESTAMP WITH TIME ZONE": (
        "toDateTime64('2018-11-04 05:30:00.000001', 6, 'UTC')",
        "'2018-11-04 05:30:00.000001+00'",
    ),
    "TIME": ("toTime64('23:59:59.999999', 6)", "'23:59:59.999999'"),
    "UUID": ("toUUID('8f14e45f-ceea-467f-a1d5-0123456789ab')", "'8f14e45f-ceea-467f-a1d5-0123456789ab'"),
    "INTEGER[]": ("[1, NULL]", "[1, NULL]"),
    "VARCHAR[][]": ("[['a'], []]", "[['a'], []]"),
    "FLOAT[3]": ("[toFloat32(0.1), -0., 3e38]", "[0.1, -0.0, 3e38]"),
    "HUGEINT[]": (
        "[toInt128('170141183460469231731687303715884105727'), NULL]",
        "['170141183460469231731687303715884105727', NULL]",
    ),
    "TIMESTAMP[]": ("[toDateTime64('2018-11-04 01:30:00.5', 6, 'UTC'), NULL]", "['2018-11-04 01:30:00.5', NULL]"),
    'STRUCT(a TIMESTAMP, "b c" BLOB, d UHUGEINT[])': (
        "tuple(toDateTime64('2018-01-01 00:00:00.5', 6, 'UTC'), unhex('ff'), [toUInt128(1)])",
        "{'a': '2018-01-01 00:00:00.5', 'b c': unhex('ff'), 'd': [1]}",
    ),
    "STRUCT(a INTEGER, t TIME)[]": (
        "[tuple(1, NULL), tuple(NULL, toTime64('01:02:03', 6))]",
        "[{'a': 1, 't': NULL}, {'a': NULL, 't': '01:02:03'}]",
    ),
    "MAP(VARCHAR, DOUBLE)": ("map('a', 1.5, 'b', NULL)", "map(['a', 'b'], [1.5, NULL])"),
    "MAP(DATE, TIMESTAMP[])": (
        "map(toDate32('1999-12-31'), [toDateTime64('2018-01-01 00:00:00', 6, 'UTC')])",
        "map(['1999-12-31'], [['2018-01-01 00:00:00']])",
    ),
    "MAP(HUGEINT, BLOB)": ("map(toInt128(-1), unhex('fe'))", "map([-1], [unhex('fe')])"),
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path / "project")


def read(settings: Settings, sql: str) -> list[Any]:
    """Rows of the batch database, as a session far from UTC sees them."""
    with open_batch(settings.project_dir / "warehouse.duckdb") as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        return connection.execute(sql).fetchall()


def lake(settings: Settings, spec: SourceSpec, columns: str = "id") -> list[Any]:
    """What the files of ``spec`` hold."""
    paths = [str(f.path) for f in lake_files(settings, spec.name)]
    return duckdb.execute(f"SELECT {columns} FROM read_parquet($1, union_by_name = true)", [paths]).fetchall()


def test_every_type_arrives_as_declared(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    spec = source(database, {"n": "INTEGER"} | {f"c{i}": t for i, t in enumerate(TYPES)})
    plan = plan_of(database, spec)
    create(clickhouse, spec)
    clickhouse.execute(f"INSERT INTO {spec.landing} SELECT 1, {', '.join(c for c, _ in TYPES.values())}, now64(6)",
                       settings={"session_timezone": "UTC", "enable_time_time64_type": 1})  # fmt: skip
    clickhouse.execute(f"INSERT INTO {spec.landing} (n) VALUES (2)")
    [exported] = export(settings, plan, clickhouse)
    create_lake_views(settings, plan)
    assert (exported.rows, exported.files) == (2, 1)
    described = read(settings, "DESCRIBE shop.orders")
    assert [row[1] for row in described] == ["INTEGER", *TYPES]
    for i, (kind, (_, value)) in enumerate(TYPES.items()):
        same = f"SELECT c{i} IS NOT DISTINCT FROM CAST({value} AS {kind}), c{i} FROM shop.orders WHERE n = 1"
        assert read(settings, same)[0][0], (kind, read(settings, same))
        empty: dict[str, Any] = {"MAP": {}, "STRUCT": {"a": None, "b c": None, "d": []}, "FLOAT[3]": (0.0, 0.0, 0.0)}
        nothing: Any = [] if kind.endswith("[]") else empty.get(kind.partition("(")[0])
        assert read(settings, f"SELECT c{i} FROM shop.orders WHERE n = 2") == [(nothing,)], kind


def test_rows_of_a_slow_insert_and_of_a_busy_writer_arrive_once(
    clickhouse: ClickHouse, endpoint: Endpoint, database: str, settings: Settings
) -> None:
    spec = source(database, ORDERS, not_null=("id",))
    plan, stop, written = plan_of(database, spec), threading.Event(), [0]
    create(clickhouse, spec)

    def write(action: Callable[[ClickHouse], None]) -> threading.Thread:
        def run() -> None:
            client = ClickHouse(endpoint)
            action(client)
            client.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def busily(client: ClickHouse) -> None:
        while not stop.is_set():
            client.insert(spec.landing, ["id", "note"], [[written[0] + i, "fast"] for i in range(20)])
            written[0] += 20

    def slowly(client: ClickHouse) -> None:
        rows = "SELECT -1 - number, 'slow' FROM numbers(4) WHERE sleepEachRow(0.2) = 0"
        client.execute(f"INSERT INTO {spec.landing} (id, note) {rows}")

    threads = [write(busily), write(slowly)]
    time.sleep(0.3)
    exported = [export(settings, plan, clickhouse)[0].rows for _ in range(4)]
    stop.set()
    for thread in threads:
        thread.join()
    exported.append(export(settings, plan, clickhouse)[0].rows)
    ids = sorted(row[0] for row in lake(settings, spec))
    assert ids == list(range(-4, written[0]))
    assert sum(exported) == len(ids)
    assert sum(n > 0 for n in exported) > 2


_EXPORT = """
import sys, time, msgspec
from pathlib import Path
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.ingest.export import export
from realtime.planner.ir import Plan
from realtime.settings import Settings
plan, endpoint = msgspec.json.decode(sys.argv[2], type=Plan), msgspec.json.decode(sys.argv[3], type=Endpoint)
pause = float(sys.argv[4])
export(Settings.load(Path(sys.argv[1]), {}), plan, ClickHouse(endpoint), lambda *_: time.sleep(pause))
"""


def kill_export(settings: Settings, plan: Plan, endpoint: Endpoint, pause: float, when: Callable[[], bool]) -> None:
    """Starts an export that rests ``pause`` seconds after each file and kills it as soon as ``when`` holds."""
    arguments = [str(settings.project_dir), msgspec.json.encode(plan).decode(), msgspec.json.encode(endpoint).decode()]
    process = subprocess.Popen([sys.executable, "-c", _EXPORT, *arguments, str(pause)])
    deadline = time.monotonic() + 30
    while not when() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_killed_export_neither_loses_nor_doubles(
    clickhouse: ClickHouse, endpoint: Endpoint, database: str, settings: Settings
) -> None:
    spec = source(database, ORDERS)
    plan, folder = plan_of(database, spec), settings.lake_dir / spec.name
    create(clickhouse, spec)
    for part in range(4):
        rows = f"SELECT {part}000000 + number, hex(randomString(20)) FROM numbers(600000)"
        clickhouse.execute(f"INSERT INTO {spec.landing} (id, note) {rows}")
    kill_export(settings, plan, endpoint, 60, lambda: len(list(folder.glob("*.parquet"))) == 1)
    assert len(lake_files(settings, spec.name)) == 1
    kill_export(settings, plan, endpoint, 0, lambda: any(f.stat().st_size for f in folder.glob("*.tmp")))
    assert list(folder.glob("*.tmp"))
    assert len(lake_files(settings, spec.name)) == 1
    [last] = export(settings, plan, clickhouse)
    assert last.rows == 1_200_000
    assert lake(settings, spec, "count(*), count(DISTINCT id), count(_ingested_at)") == [(2_400_000,) * 3]
    assert not list(folder.glob("*.tmp"))


def test_an_empty_span_leaves_no_file(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    spec = source(database, ORDERS)
    plan = plan_of(database, spec)
    create(clickhouse, spec)
    create_lake_views(settings, plan)
    assert read(settings, "DESCRIBE shop.orders")[0][:2] == ("id", "BIGINT")
    assert read(settings, "FROM shop.orders") == []
    [nothing] = export(settings, plan, clickhouse)
    assert (nothing.rows, nothing.files, lake_files(settings, spec.name)) == (0, 0, ())
    clickhouse.insert(spec.landing, ["id", "note"], [[1, "one"]])
    [first] = export(settings, plan, clickhouse)
    [second] = export(settings, plan, clickhouse)
    assert (first.rows, second.rows) == (1, 0)
    assert second.watermark > first.watermark > nothing.watermark > datetime(2020, 1, 1, tzinfo=UTC)
    assert [f.end for f in lake_files(settings, spec.name)] == [first.watermark]


def test_views_show_the_lake_as_it_was_when_they_were_made(
    clickhouse: ClickHouse, database: str, settings: Settings
) -> None:
    spec = source(database, ORDERS)
    plan = plan_of(database, spec)
    create(clickhouse, spec)
    for n in (1, 2):
        clickhouse.insert(spec.landing, ["id", "note"], [[n, None]])
        [exported] = export(settings, plan, clickhouse)
        assert len(read(settings, "FROM shop.orders")) == n - 1 if n > 1 else True
        create_lake_views(settings, plan)
        assert read(settings, "SELECT id FROM shop.orders ORDER BY id") == [(i + 1,) for i in range(n)]
        with open_batch(settings.project_dir / "warehouse.duckdb") as connection:
            assert batch_watermark(connection, spec) == exported.watermark


def test_files_from_before_a_column_was_added(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    old = source(database, {"id": "BIGINT"})
    added = {"a": "VARCHAR", "b": "BIGINT", "c": "DATE", "d": "DOUBLE[]", "e": "TIMESTAMP", "f": "STRUCT(x INTEGER)"}
    new = source(database, {"id": "BIGINT", **added}, not_null=("b", "c", "e"))
    create(clickhouse, old)
    clickhouse.insert(old.landing, ["id"], [[1]])
    export(settings, plan_of(database, old), clickhouse)
    # Declared, but not deployed: exported without, shown as what it will read as.
    clickhouse.insert(old.landing, ["id"], [[2]])
    export(settings, plan_of(database, new), clickhouse)
    for spec_column, kind in zip(
        new.columns[1:],
        (
            "Nullable(String)",
            "Int64",
            "Date32",
            "Array(Nullable(Float64))",
            "DateTime64(6, 'UTC')",
            "Tuple(x Nullable(Int32))",
        ),
        strict=True,
    ):
        clickhouse.execute(f"ALTER TABLE {new.landing} ADD COLUMN {spec_column.name} {kind}")
    create_lake_views(settings, plan_of(database, new))
    absent: tuple[Any, ...] = (None, 0, datetime(1900, 1, 1).date(), [], datetime(1970, 1, 1), {"x": None})
    assert read(settings, "FROM shop.orders ORDER BY id") == [(1, *absent), (2, *absent)]
    values = "3, 'x', 7, '2020-02-02', [1], '1970-01-01 00:00:01', (5)"
    clickhouse.execute(f"INSERT INTO {new.landing} (id, a, b, c, d, e, f) VALUES ({values})")
    export(settings, plan_of(database, new), clickhouse)
    create_lake_views(settings, plan_of(database, new))
    written = ("x", 7, datetime(2020, 2, 2).date(), [1.0], datetime(1970, 1, 1, 0, 0, 1), {"x": 5})
    assert read(settings, "FROM shop.orders ORDER BY id") == [(1, *absent), (2, *absent), (3, *written)]
    landed = clickhouse.rows(f"SELECT a, b, c, d, e, f FROM {new.landing} WHERE id = 1")
    assert [str(v) for v in landed[0].values()][:4] == [str(v) for v in absent][:4]


def test_an_upsert_source_shows_what_final_reads(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    columns = {"id": "BIGINT", "v": "BIGINT", "note": "VARCHAR", "gone": "BOOLEAN"}
    spec = source(database, columns, mode="upsert", key=("id",), version="v", deleted="gone")
    plan = plan_of(database, spec)
    create(clickhouse, spec)
    batches = [
        [[1, 1, "a1", False], [2, 5, "b5", False], [3, 1, "c1", None], [4, 1, "d1", False]],
        [[1, 2, "a2", None], [2, 4, "b4, late", False], [3, 2, "c2", True]],
        [[1, 2, "a2 again", False], [3, 1, "c1, late", False], [4, 9, "d9", True], [5, 1, "e1", True]],
        [[4, 10, "d10", False], [5, 0, "e0, late", False]],
    ]
    for batch in batches:
        clickhouse.insert(spec.landing, list(columns), batch)
        export(settings, plan, clickhouse)
        clickhouse.execute(f"OPTIMIZE TABLE {spec.landing} FINAL")
    # Equal versions at the same moment: the insert that came last counts.
    now = "fromUnixTimestamp64Micro(toUnixTimestamp64Micro(now64(6)) + 100000)"
    moment = clickhouse.value(f"SELECT toString({now})")
    for note in ("first", "second", "third"):
        clickhouse.execute(f"INSERT INTO {spec.landing} VALUES (6, 1, '{note}', false, '{moment}')")
    time.sleep(0.12)
    export(settings, plan, clickhouse)
    create_lake_views(settings, plan)
    final = clickhouse.rows(
        f"SELECT id, v, note, gone FROM {spec.landing} FINAL WHERE NOT ifNull(gone, false) ORDER BY id"
    )
    shown = read(settings, "SELECT id, v, note, gone FROM shop.orders ORDER BY id")
    assert shown == [tuple(row.values()) for row in final]
    assert [row[2] for row in shown] == ["a2 again", "b5", "d10", "third"]
    assert read(settings, "SELECT column_name FROM (DESCRIBE shop.orders)") == [(c,) for c in columns]


def test_large_spans_are_split_by_time(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    spec = source(database, ORDERS)
    plan = plan_of(database, spec)
    create(clickhouse, spec)
    rows = "SELECT number, '', fromUnixTimestamp64Micro(toInt64(1.6e15) + intDiv(number, 1000)) FROM numbers(2500500)"
    clickhouse.execute(f"INSERT INTO {spec.landing} {rows}")
    told: list[tuple[str, int, int]] = []
    [exported] = export(settings, plan, clickhouse, lambda *state: told.append(state))
    assert exported.files == 3
    assert told == [(spec.name, n, 2_500_500) for n in (1_000_000, 2_000_000, 2_500_500)]
    assert lake(settings, spec, "count(*), count(DISTINCT id)") == [(2_500_500, 2_500_500)]


def test_a_table_that_each_file_rereads_is_written_to_few(
    clickhouse: ClickHouse, database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = msgspec.structs.replace(source(database, ORDERS), order_by=("id",))
    plan = plan_of(database, spec)
    create(clickhouse, spec)
    monkeypatch.setattr("realtime.ingest.export.ROWS_PER_FILE", 10_000)
    moment = "fromUnixTimestamp64Micro(toInt64(1.6e15) + cityHash64(number) % 1000)"
    clickhouse.execute(f"INSERT INTO {spec.landing} SELECT number, '', {moment} FROM numbers(250000)")
    [exported] = export(settings, plan, clickhouse)
    assert exported.files == MOST_FILES
    assert lake(settings, spec, "count(*), count(DISTINCT id)") == [(250_000, 250_000)]


def test_what_stands_against_an_export(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    spec = source(database, ORDERS)
    plan = plan_of(database, spec)
    with pytest.raises(ConfigError, match=r"source shop.orders has no landing table [\s\S]*duet deploy"):
        export(settings, plan, clickhouse)
    create(clickhouse, spec)
    clickhouse.insert(spec.landing, ["id"], [[1]])

    def meanwhile(*_: object) -> None:
        export(settings, plan, clickhouse)

    with pytest.raises(BusyError, match="another export"):
        export(settings, plan, clickhouse, meanwhile)
    assert lake(settings, spec) == [(1,)]
    clickhouse.execute(f"TRUNCATE TABLE {spec.landing}")
    with pytest.raises(ParityError, match=r"holds 1 rows up to .* 0[\s\S]*delete"):
        export(settings, plan, clickhouse)
    [file] = lake_files(settings, spec.name)
    stray = file.path.with_name("mine.parquet")
    file.path.rename(stray)
    with pytest.raises(ConfigError, match=r"mine.parquet is not a file that duet export wrote"):
        export(settings, plan, clickhouse)
    stray.rename(file.path)
    file.path.write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"can't be read"):
        export(settings, plan, clickhouse)


def test_a_gap_between_files_is_an_error(clickhouse: ClickHouse, database: str, settings: Settings) -> None:
    spec = source(database, ORDERS)
    plan = plan_of(database, spec)
    create(clickhouse, spec)
    for n in range(3):
        clickhouse.insert(spec.landing, ["id"], [[n]])
        export(settings, plan, clickhouse)
    lake_files(settings, spec.name)[1].path.unlink()
    for action in (lambda: export(settings, plan, clickhouse), lambda: create_lake_views(settings, plan)):
        with pytest.raises(ConfigError, match=r"not whole[\s\S]*duet export"):
            action()


def test_nothing_that_duet_did_not_make_is_overwritten(
    clickhouse: ClickHouse, database: str, settings: Settings
) -> None:
    spec = source(database, ORDERS)
    for theirs in ("TABLE", "VIEW"):
        read(settings, "CREATE SCHEMA IF NOT EXISTS shop")
        read(settings, f"CREATE {theirs} shop.orders AS SELECT 42 AS answer")
        with pytest.raises(ConfigError, match=r"source shop.orders: .* was not made by Duet"):
            create_lake_views(settings, plan_of(database, spec))
        assert read(settings, "FROM shop.orders") == [(42,)]
        read(settings, f"DROP {theirs} shop.orders")
    elsewhere = msgspec.structs.replace(spec, batch='"other"."shop"."orders"')
    with pytest.raises(ConfigError, match=r"in database 'other'"):
        create_lake_views(settings, plan_of(database, elsewhere))


def test_a_file_that_is_no_database(database: str, settings: Settings) -> None:
    (settings.project_dir / "warehouse.duckdb").write_text("not a database, but long enough to look at" * 1000)
    with pytest.raises(ConfigError, match=r"warehouse.duckdb can't be opened[\s\S]*profile"):
        create_lake_views(settings, plan_of(database))
