"""Waiting for inserts that are running."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator

import pytest

from realtime.clickhouse.inserts import wait_for_inserts
from realtime.errors import BusyError
from tests.deploy.conftest import Site


@pytest.fixture
def table(site: Site) -> str:
    """A table of one column."""
    site.client.execute(f"CREATE DATABASE {site.database}")
    site.client.execute(f"CREATE TABLE {site.database}.slow (n Int64) ENGINE = MergeTree ORDER BY n")
    return f"{site.database}.slow"


def start_insert(site: Site, table: str, finish: threading.Event, number: int = 1) -> threading.Thread:
    """The insert ``number`` that runs until ``finish`` is set; the server has it when this returns."""

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
    running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND query LIKE '%{db}.slow%'"
    while site.rows(running) != [(number,)]:
        time.sleep(0.01)
    return thread


def test_returns_when_older_inserts_are_over(site: Site, table: str) -> None:
    finish, later = threading.Event(), threading.Event()
    first = start_insert(site, table, finish)
    wait_for_inserts(site.client, [f"{site.database}.other"])
    with pytest.raises(BusyError, match="INSERT INTO") as caught:
        wait_for_inserts(site.client, [table], timeout=0.1)
    assert "KILL QUERY" in caught.value.remedy
    waiting = threading.Thread(target=wait_for_inserts, args=(site.client, [table]))
    waiting.start()
    time.sleep(0.1)  # an insert that begins within the tolerance of 10 ms counts as older
    second = start_insert(site, table, later, 2)
    assert waiting.is_alive()
    finish.set()
    waiting.join(20)
    assert not waiting.is_alive()
    assert site.rows("SELECT countIf(n = 2) FROM {db}.slow") == [(1,)]
    later.set()
    first.join()
    second.join()


def test_queued_inserts_are_waited_for(site: Site, table: str) -> None:
    settings = {"async_insert": 1, "wait_for_async_insert": 0, "async_insert_busy_timeout_ms": 500}
    site.client.execute(f"INSERT INTO {table} VALUES (1)", settings=settings)
    wait_for_inserts(site.client, [table])
    assert site.rows("SELECT count() FROM {db}.slow") == [(1,)]
