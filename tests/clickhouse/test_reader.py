"""The user that lambdas are asked as: it reads what they read, and can do nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.clickhouse.grants import grants
from realtime.clickhouse.reader import USER, check_reader
from realtime.deploy.ledger import Ledger
from realtime.errors import CommandError, ConfigError
from realtime.serving.tokens import Grant, Tokens
from realtime.settings import Settings
from tests.server.running import running
from tests.serving.plans import deploy, plan, spec

DATABASE = "readable"  # as tests/conftest.py has it


@pytest.fixture(scope="module")
def project(clickhouse: ClickHouse) -> Iterator[str]:
    """A landing table, a state over it, a read view of both, and what Duet keeps for itself."""
    names = [DATABASE, *(f"{DATABASE}_{part}" for part in ("raw", "state", "staging_1"))]
    for name in names:
        clickhouse.execute(f"CREATE DATABASE {name}")
    Ledger(clickhouse, DATABASE).create()
    clickhouse.execute(f"CREATE TABLE {DATABASE}_raw.events (k String, n Int64) ENGINE = MergeTree ORDER BY k")
    clickhouse.execute(
        f"CREATE TABLE {DATABASE}_state.per_k (k String, total AggregateFunction(sum, Int64)) "
        "ENGINE = AggregatingMergeTree ORDER BY k"
    )
    clickhouse.execute(
        f"CREATE MATERIALIZED VIEW {DATABASE}_state.mv TO {DATABASE}_state.per_k AS "
        f"SELECT k, sumState(n) AS total FROM {DATABASE}_raw.events GROUP BY k"
    )
    clickhouse.execute(
        f"CREATE VIEW {DATABASE}_staging_1.per_k AS "
        f"SELECT k, sumMerge(total) AS total FROM {DATABASE}_state.per_k GROUP BY k"
    )
    clickhouse.execute(f"CREATE VIEW {DATABASE}.per_k AS SELECT * FROM {DATABASE}_staging_1.per_k")
    clickhouse.execute(f"CREATE VIEW {DATABASE}.leak AS SELECT hash FROM {DATABASE}_duet.tokens")
    clickhouse.insert(f"{DATABASE}_raw.events", ["k", "n"], [["a", 1], ["a", 2], ["b", 5]])
    Tokens(clickhouse, DATABASE).create(Grant("all", run=("*",)))
    yield DATABASE
    for name in [*names, f"{DATABASE}_duet"]:
        clickhouse.execute(f"DROP DATABASE {name} SYNC")


@pytest.fixture(scope="module")
def reader(endpoint: Endpoint, project: str) -> Iterator[ClickHouse]:
    with ClickHouse(msgspec.structs.replace(endpoint, user=USER)) as client:
        yield client


def test_it_reads_models_over_states_and_landing_tables(reader: ClickHouse) -> None:
    rows = reader.rows(f"SELECT k, total FROM {DATABASE}.per_k ORDER BY k", settings={"max_execution_time": 10})
    assert rows == [{"k": "a", "total": 3}, {"k": "b", "total": 5}]
    assert reader.value(f"SELECT count() FROM {DATABASE}_raw.events") == 3
    assert reader.value("SELECT sum(number) FROM numbers(4)") == 6


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO readable_raw.events VALUES ('x', 1)",
        "INSERT INTO FUNCTION file('x.csv') SELECT 1",
        "CREATE TABLE readable.t (a Int64) ENGINE = Memory",
        "CREATE TEMPORARY TABLE t (a Int64) ENGINE = Memory",
        "CREATE USER x",
        "ALTER TABLE readable_raw.events DELETE WHERE 1",
        "DELETE FROM readable_raw.events WHERE 1",
        "TRUNCATE TABLE readable_raw.events",
        "DROP VIEW readable.per_k",
        "RENAME TABLE readable.per_k TO readable.other",
        "GRANT SELECT ON *.* TO duet_reader",
        "KILL QUERY WHERE 1",
        "SYSTEM FLUSH LOGS",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS allow_ddl = 1, max_execution_time = 66",
        "SELECT 1 SETTINGS max_result_rows = 1000001",
        "SELECT * FROM readable_duet.tokens",
        "SELECT plan FROM readable_duet.deployments",
        "SELECT * FROM readable.leak",
        "SELECT * FROM mergeTreeIndex('readable_duet', 'tokens')",
        "SELECT * FROM merge('readable_duet', '.*')",
        "SELECT query FROM system.query_log",
        "SELECT query FROM system.processes",
        "SELECT * FROM system.users",
        "SELECT * FROM system.named_collections",
        "SELECT * FROM system.grants",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
        "SELECT * FROM file('/etc/passwd', 'RawBLOB', 'a String')",
        "SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1:1', 'readable_duet.tokens')",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM executable('x', 'CSV', 'a String')",
        "SELECT * FROM default.anything",
    ],
)
def test_it_can_do_nothing_else(reader: ClickHouse, clickhouse: ClickHouse, statement: str) -> None:
    with pytest.raises(CommandError) as found:
        reader.execute(statement)
    codes = ("Code: 497", "Code: 164", "Code: 452", "Code: 636", "Code: 60")
    assert any(code in str(found.value) for code in codes), found.value
    assert clickhouse.value(f"SELECT count() FROM {DATABASE}_raw.events") == 3


def test_it_sees_no_names_of_what_it_may_not_read(reader: ClickHouse) -> None:
    names = {row["name"] for row in reader.rows("SELECT DISTINCT database AS name FROM system.tables")}
    assert f"{DATABASE}_state" in names
    assert f"{DATABASE}_duet" not in names


def test_the_server_asks_lambdas_as_it(
    endpoint: Endpoint, clickhouse: ClickHouse, project: str, tmp_path: Path
) -> None:
    Tokens(clickhouse, DATABASE).clear()
    lambdas = [
        spec("who", "SELECT currentUser() AS u", [], [("u", "VARCHAR")]),
        spec("totals", f"SELECT k FROM {DATABASE}.per_k ORDER BY k", [], [("k", "VARCHAR")]),
        spec("thief", f"SELECT hash FROM {DATABASE}_duet.tokens", [], [("hash", "VARCHAR")]),
    ]
    deploy(clickhouse, plan(DATABASE, lambdas))
    with running(endpoint, DATABASE, tmp_path, CLICKHOUSE_READ_USER=USER) as server:
        assert server.ask("/v1/lambdas/who").json["data"] == [{"u": USER}]
        assert server.ask("/v1/lambdas/totals").json["rows"] == 2
        refused = server.ask("/v1/lambdas/thief")
        assert (refused.status, refused.error["code"]) == (500, "internal")
        assert "_duet" not in refused.body.decode()
        said = next(line for line in server.lines("query failed") if line["lambda"] == "thief")
        assert (said["code"], "Not enough privileges" in said["clickhouse"]) == (497, True)


@pytest.mark.parametrize(
    ("user", "database", "message"),
    [
        ("default", DATABASE, f"must not have SELECT ON {DATABASE}_duet.tokens, must not have INSERT ON"),
        (USER, "elsewhere", "lacks SELECT ON elsewhere.*, lacks SELECT ON elsewhere_raw.*"),
        ("nobody", DATABASE, "CLICKHOUSE_READ_USER nobody can't be used"),
    ],
)
def test_a_user_that_is_not_right_is_refused(
    endpoint: Endpoint, project: str, tmp_path: Path, user: str, database: str, message: str
) -> None:
    environment = {"CLICKHOUSE_URL": f"{endpoint.url}/{database}", "CLICKHOUSE_READ_USER": user}
    with pytest.raises(ConfigError) as found:
        check_reader(Settings.load(tmp_path, environment))
    assert message in found.value.message
    assert found.value.remedy


def test_the_right_user_is_taken(endpoint: Endpoint, project: str, tmp_path: Path) -> None:
    environment = {"CLICKHOUSE_URL": f"{endpoint.url}/{DATABASE}", "CLICKHOUSE_READ_USER": USER}
    check_reader(Settings.load(tmp_path, environment))


def test_what_the_docs_say_of_a_user_of_ones_own(clickhouse: ClickHouse) -> None:
    """ClickHouse takes the statements apart as they are meant; the local one keeps no users that they make."""
    text = (Path(__file__).parents[2] / "docs" / "lambdas.md").read_text()
    create, grant = re.findall(r"^(?:CREATE USER|GRANT) [^;]*(?=;)", text, re.MULTILINE)
    for statement in (create, create.replace(" IDENTIFIED", " ON CLUSTER main IDENTIFIED"), grant):
        assert clickhouse.value("SELECT formatQuerySingleLine({sql:String})", {"sql": statement}) == statement
    assert grant == f"{grants('shop')} TO {USER}"
    everywhere = grant.replace("GRANT ", "GRANT ON CLUSTER main ")
    assert clickhouse.value("SELECT formatQuerySingleLine({sql:String})", {"sql": everywhere}) == everywhere
    with pytest.raises(CommandError, match="ACCESS_STORAGE_"):
        clickhouse.execute(create)
