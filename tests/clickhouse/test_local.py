"""The local server and which server is used."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from realtime.clickhouse import launcher, local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint, database_name, find_endpoint, remote_endpoint
from realtime.disk import kept_free
from realtime.errors import CommandError, ConfigError, PortInUseError, UnavailableError
from realtime.settings import Settings
from tests.server.running import until

_PROFILE = """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb}
"""
_REMOTE = """
    live:
      type: clickhouse
      host: "{{ env_var('SHOP_HOST', 'example.test') }}"
      port: 8443
      secure: true
      schema: shop
      user: me
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text(_PROFILE)
    return tmp_path


@pytest.fixture
def settings(project: Path) -> Iterator[Settings]:
    found = Settings.load(project, {"DUET_CLICKHOUSE_PORT": "0"})
    yield found
    local.daemon(found).stop()


def test_a_write_that_fails_ends_it_and_it_starts_again(settings: Settings) -> None:
    """Also when it has started again, and from wherever its library was named; what was answered before is there."""
    library = os.path.relpath(local.find_library(settings))
    before = local.start(Settings(settings.project_dir, {**settings.values, "DUET_CLICKHOUSE_LIBRARY": library}))
    with ClickHouse(find_endpoint(settings)) as client:
        client.execute("CREATE TABLE kept (x Int64) ENGINE = MergeTree ORDER BY x")
        for times in (1, 2):
            client.insert("kept", ["x"], [[times]])
            with pytest.raises(UnavailableError):
                client.execute("INSERT INTO FUNCTION file('/dev/full', TSV, 'x Int64') SELECT 1")
            until(lambda: _answers(client))
            assert client.value("SELECT count() FROM kept") == times
        kept = client.value("SELECT keep_free_space FROM system.disks")
    assert kept == kept_free(settings.state_dir) > 0
    assert local.daemon(settings).running() == before
    assert local.daemon(settings).log.read_text().count(f"when {kept:,} bytes of its disk are free") == 2


def test_a_disk_that_has_room_and_takes_nothing_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "metadata").write_text("no folder")
    with pytest.raises(FileExistsError):
        launcher._prepared_again(tmp_path)


def _answers(client: ClickHouse) -> bool:
    try:
        return bool(client.value("SELECT 1"))
    except UnavailableError:
        return False


def test_restart_keeps_the_data(settings: Settings) -> None:
    local.start(settings)
    with ClickHouse(find_endpoint(settings)) as client:
        client.execute("CREATE TABLE kept (x Int64) ENGINE = MergeTree ORDER BY x")
        client.insert("kept", ["x"], [[1], [2]])
    assert local.daemon(settings).stop()
    local.start(settings)
    with ClickHouse(find_endpoint(settings)) as client:
        assert client.value("SELECT sum(x) FROM kept") == 3
        limit = client.value("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'")
        assert limit == "4000000000"


def test_small_parts_are_merged_together(clickhouse: ClickHouse, database: str) -> None:
    """Not each alone into the large one before them, as ClickHouse does by itself."""
    table = f"{database}.t"
    clickhouse.execute(f"CREATE DATABASE {database}")
    clickhouse.execute(f"CREATE TABLE {table} (s String) ENGINE = MergeTree ORDER BY s")
    clickhouse.execute(f"SYSTEM STOP MERGES {table}")
    clickhouse.execute(f"INSERT INTO {table} SELECT randomPrintableASCII(20) FROM numbers(20000)")
    for number in range(5):
        clickhouse.insert(table, ["s"], [[str(number)]])
    clickhouse.execute(f"SYSTEM START MERGES {table}")
    parts = f"SELECT count() FROM system.parts WHERE active AND database = '{database}'"
    until(lambda: int(clickhouse.value(parts)) == 1)


def test_errors_of_statements(clickhouse: ClickHouse) -> None:
    with pytest.raises(CommandError, match=r"ClickHouse refused `SELECT nothing`: Code: 47\."):
        clickhouse.execute("SELECT nothing")
    gone = ClickHouse(clickhouse.endpoint)
    gone.close()
    with pytest.raises(UnavailableError, match="does not answer"):
        ClickHouse(Endpoint("127.0.0.1", 9))


def test_port_in_use(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings.load(project, {"DUET_CLICKHOUSE_PORT": str(port)})
        with pytest.raises(PortInUseError, match=f"port {port} is in use") as error:
            local.start(settings)
    assert "DUET_CLICKHOUSE_PORT" in error.value.remedy


def test_missing_library(project: Path) -> None:
    settings = Settings.load(project, {"DUET_CLICKHOUSE_LIBRARY": "/nowhere/libchdb.so"})
    with pytest.raises(ConfigError, match="does not exist"):
        local.start(settings)


def test_nothing_runs(settings: Settings) -> None:
    with pytest.raises(UnavailableError) as error:
        find_endpoint(settings)
    assert str(error.value) == "ClickHouse is not running\n  → start it: duet up"


def test_url_wins(project: Path) -> None:
    settings = Settings.load(project, {"CLICKHOUSE_URL": "https://us%40er:p%23w@ch.test/live"})
    assert find_endpoint(settings) == Endpoint("ch.test", 8443, True, "us@er", "p#w", "live")


def test_url_that_is_none(project: Path) -> None:
    settings = Settings.load(project, {"CLICKHOUSE_URL": "ch.test:8123"})
    with pytest.raises(ConfigError, match="no HTTP address"):
        find_endpoint(settings)


@pytest.mark.parametrize("url", ["http://me:secret@ch.test:abc", "clickhouse://me:secret@ch.test", "http://[::1"])
def test_message_of_a_wrong_url_holds_no_password(project: Path, url: str) -> None:
    with pytest.raises(ConfigError) as error:
        find_endpoint(Settings.load(project, {"CLICKHOUSE_URL": url}))
    assert "secret" not in str(error.value)


def test_address_of_ipv6() -> None:
    assert Endpoint("::1", 8123).url == "http://[::1]:8123"


def test_database_that_can_be_no_name(project: Path) -> None:
    with pytest.raises(ConfigError, match="database 'my-db' can't be used"):
        database_name(Settings.load(project, {"CLICKHOUSE_URL": "http://ch.test/my-db"}))


def test_target_of_the_profile(project: Path) -> None:
    assert remote_endpoint(Settings.load(project, {})) is None
    (project / "profiles.yml").write_text(_PROFILE + _REMOTE)
    assert remote_endpoint(Settings.load(project, {})) == Endpoint(
        "example.test", 8443, True, user="me", database="shop"
    )
