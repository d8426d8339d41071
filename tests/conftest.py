"""The real servers that tests ask for: one ClickHouse a session, a database of its own a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from realtime.clickhouse import local
from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.settings import Settings
from tests import left_behind
from tests.postgres import Postgres, running


def pytest_configure(config: pytest.Config) -> None:
    """What this run starts ends with it."""
    watcher = left_behind.watch()
    if watcher is not None:
        config.add_cleanup(lambda: watcher.__exit__(None, None, None))  # closes the pipe and waits


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A running ClickHouse that nothing else uses."""
    settings = Settings.load(tmp_path_factory.mktemp("clickhouse"), {"DUET_CLICKHOUSE_PORT": "0"})
    local.start(settings, "readable")  # its user for lambdas may read that
    found = local.local_endpoint(settings)
    assert found is not None
    yield found
    local.daemon(settings).stop()


@pytest.fixture(scope="session")
def clickhouse(endpoint: Endpoint) -> Iterator[ClickHouse]:
    """A client of the session's server."""
    client = ClickHouse(endpoint)
    yield client
    client.close()


@pytest.fixture
def database(clickhouse: ClickHouse) -> Iterator[str]:
    """The name of a database for this test; it and its companions (``_raw``, ``_state`` …) are dropped afterwards."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    for row in clickhouse.rows(f"SELECT name FROM system.databases WHERE startsWith(name, '{name}')"):
        clickhouse.execute(f"DROP DATABASE IF EXISTS `{row['name']}` SYNC")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running Postgres that nothing else uses."""
    with running() as found:
        yield found
