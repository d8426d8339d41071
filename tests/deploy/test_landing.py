"""Landing and quarantine tables on the real server."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.deploy.promote import settle
from realtime.emit.landing import create_landing, landing_ddl, remake_quarantine
from realtime.errors import SourceError
from realtime.planner.ir import Plan
from realtime.planner.planner import plan_project
from tests.deploy.conftest import Site, fill, project, source

ALL = {"key": "bigint", "Weird `name`": "varchar", "tags": "varchar[]", "at": "timestamp", "price": "decimal(10,2)"}
NEWEST = {"newest": "select id, room from memory.chat.messages"}


def made(site: Site, columns: dict[str, str], not_null: list[str], **options: Any) -> Plan:
    outcome = plan_project(project(NEWEST, of=source(columns, not_null, **options)), site.database)
    assert not outcome.refusals
    site.client.execute(f"CREATE DATABASE {site.database}_raw")
    for statement in landing_ddl(outcome.plan.sources[0]):
        site.client.execute(statement)
    return outcome.plan


def test_an_older_quarantine_gets_new_columns_and_keeps_its_rows(site: Site) -> None:
    plan = made(site, {"id": "bigint", "room": "varchar"}, [])
    (spec,) = plan.sources
    site.client.execute(f"DROP TABLE {spec.quarantine}")
    site.client.execute(
        f"CREATE TABLE {spec.quarantine} (received_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'), request_id String, "
        "row String, columns Array(String), reasons Array(String)) ENGINE = MergeTree ORDER BY received_at"
    )
    site.client.execute(f"INSERT INTO {spec.quarantine} (request_id, row) VALUES ('r-1', 'a')")
    for statement in remake_quarantine(spec):
        site.client.execute(statement)
    assert site.rows(f"SELECT request_id, row, replay, offset FROM {spec.quarantine} FINAL") == [("r-1", "a", "", -1)]
    assert site.names("_raw") == ["chat__messages", "chat__messages__quarantine"]


def test_columns_are_nullable_unless_declared_otherwise(site: Site) -> None:
    made(site, {"id": "bigint", "room": "varchar", **ALL}, ["key"], event_time="at", partition_by="toYYYYMM(`at`)")
    rows = site.rows(
        "SELECT name, type, default_expression FROM system.columns WHERE database = '{db}_raw' "
        "AND table = 'chat__messages' ORDER BY position"
    )
    assert rows == [
        ("id", "Nullable(Int64)", ""),
        ("room", "Nullable(String)", ""),
        ("key", "Int64", ""),
        ("Weird `name`", "Nullable(String)", ""),
        ("tags", "Array(Nullable(String))", ""),
        ("at", "Nullable(DateTime64(6, 'UTC'))", ""),
        ("price", "Nullable(Decimal(10, 2))", ""),
        ("_ingested_at", "DateTime64(6, 'UTC')", "now64(6, 'UTC')"),
        ("_batch_id", "UInt64", "toUInt64OrZero(substring(initialQueryID(), 6))"),
    ]
    keys = site.rows("SELECT sorting_key, partition_key FROM system.tables WHERE database = '{db}_raw' ORDER BY name")
    assert [tuple(k.replace("`", "").strip("()") for k in row) for row in keys] == [
        ("at", "toYYYYMM(at"),
        ("received_at, id", ""),
    ]


def test_a_repeated_token_is_taken_once(site: Site) -> None:
    made(site, {"id": "bigint", "room": "varchar", "sender": "varchar", "size": "integer"}, ["id"])
    site.insert(0, 3, token="same")
    site.insert(0, 3, token="same")
    assert site.rows("SELECT count() FROM {db}_raw.chat__messages") == [(3,)]


@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        ("bigint", "-5", "7"),
        ("hugeint", "-1", "1"),
        ("utinyint", "1", "200"),
        ("date", "'1950-01-01'", "'2024-02-03'"),
        ("timestamp", "'1950-01-01 00:00:00'", "'2024-02-03 10:00:00.000001'"),
        ("timestamptz", "'2024-02-03 10:00:00'", "'2024-02-03 10:00:00.000001'"),
    ],
)
def test_the_highest_version_of_a_key_is_kept(site: Site, kind: str, older: str, newer: str) -> None:
    columns = {"id": "bigint", "room": "varchar", "version": kind}
    made(site, columns, [], mode="upsert", key="id", version="version")
    landing = f"{site.database}_raw.chat__messages"
    for room, version in (("first", older), ("newest", newer), ("late", older)):
        site.client.execute(f"INSERT INTO {landing} (id, room, version) VALUES (1, '{room}', {version})")
    assert site.rows("SELECT room FROM {db}_raw.chat__messages FINAL") == [("newest",)]
    site.client.execute(f"INSERT INTO {landing} (id, room, version) VALUES (1, 'tied', {newer})")
    assert site.rows("SELECT room FROM {db}_raw.chat__messages FINAL") == [("tied",)]


def test_a_deleted_key_is_not_read_and_not_revived_by_an_older_version(site: Site) -> None:
    columns = {"id": "bigint", "room": "varchar", "version": "bigint", "gone": "boolean"}
    chat = source(columns, mode="upsert", key="id", version="version", deleted="gone")
    plan = site.compile(project(NEWEST, of=chat))
    fill(site, plan)
    settle(site.client, plan)
    landing = f"{site.database}_raw.chat__messages"
    for values in ("(1, 'a', 1, false), (2, 'b', 1, NULL)", "(1, 'a', 3, true)", "(1, 'late', 2, false)"):
        site.client.execute(f"INSERT INTO {landing} (id, room, version, gone) VALUES {values}")
        site.client.execute(f"OPTIMIZE TABLE {landing} FINAL")
    assert site.rows("SELECT id, room FROM {db}.newest") == [(2, "b")]
    site.client.execute(f"INSERT INTO {landing} (id, room, version, gone) VALUES (1, 'back', 4, false)")
    assert site.rows("SELECT id, room FROM {db}.newest ORDER BY id") == [(1, "back"), (2, "b")]


@pytest.mark.parametrize("kind", ["double", "varchar", "decimal(10,2)", "uuid", "boolean", "time"])
def test_a_version_that_does_not_order_rows_is_refused(kind: str) -> None:
    columns = {"id": "bigint", "room": "varchar", "version": kind}
    outcome = plan_project(project(NEWEST, of=source(columns, mode="upsert", key="id", version="version")), "shop")
    with pytest.raises(SourceError, match="version column version is") as caught:
        create_landing(outcome.plan.sources[0])
    assert "BIGINT" in caught.value.remedy
