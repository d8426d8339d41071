"""Waiting for inserts that are running."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator

import pytest

from realtime.clickhouse.inserts import wait_for_inserts
from realtime.clickhouse.moment import server_now
from realtime.errors import BusyError
from tests.deploy.conftest import Site


@pytest.fixture
def table(site: Site) -> str:
    """A table of one column."""
    site.client.execute(f"CREATE DATABASE {site.database}")
    site.client.execute(f"CREATE TABLE {site.database}.slow (n Int64) ENGINE = MergeTree ORDER BY n")
    return f"{site.database}.slow"


def start_insert(site: Site, table: str, finish: threading.Event) -> threading.Thread:
    """An insert that runs until ``finish`` is set; the server has it when this returns."""

    def body() -> Iterator[bytes]:
        yield b"1\n" * 1_000_000
        finish.wait(30)
        yield b"2\n"

    def send() -> None:
        connection = http.client.HTTPConnection(site.client.endpoint.host, site.client.endpoint.port)
        url = f"/?query=INSERT+INTO+{table}+FORMAT+TSV"
        connection.request("POST", url, body(), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()

    thread = threading.Thread(target=send)
    thread.start()
    while not site.rows("SELECT 1 FROM system.processes WHERE query_kind = 'Insert' AND query LIKE '%{db}.slow%'"):
        time.sleep(0.01)
    return thread


def test_returns_when_older_inserts_are_over(site: Site, table: str) -> None:
    before_all = server_now(site.client)
    time.sleep(0.1)  # an insert that begins within the tolerance of 10 ms counts as older
    finish = threading.Event()
    thread = start_insert(site, table, finish)
    now = server_now(site.client)
    wait_for_inserts(site.client, [table], before_all)
    wait_for_inserts(site.client, [f"{site.database}.other"], now)
    with pytest.raises(BusyError, match="INSERT INTO") as caught:
        wait_for_inserts(site.client, [table], now, timeout=0.1)
    assert "KILL QUERY" in caught.value.remedy
    threading.Timer(0.2, finish.set).start()
    wait_for_inserts(site.client, [table], now)
    assert site.rows("SELECT count() FROM {db}.slow") == [(1_000_001,)]
    thread.join()


def test_queued_inserts_are_waited_for(site: Site, table: str) -> None:
    settings = {"async_insert": 1, "wait_for_async_insert": 0, "async_insert_busy_timeout_ms": 500}
    site.client.execute(f"INSERT INTO {table} VALUES (1)", settings=settings)
    wait_for_inserts(site.client, [table], server_now(site.client))
    assert site.rows("SELECT count() FROM {db}.slow") == [(1,)]
