"""Calling a lambda from the command line's side."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import CommandError, UnavailableError
from realtime.serving.client import all_pages, run_lambda
from tests.server.running import running
from tests.serving.plans import deploy, paged, param, plan, spec


def test_status_and_body(endpoint: Endpoint, clickhouse: ClickHouse, database: str, tmp_path: Path) -> None:
    echo = spec("echo", "SELECT {text:Nullable(String)} AS text", [param("text", "VARCHAR")])
    deploy(clickhouse, plan(database, [echo, paged("paged", 2)]))
    with running(endpoint, database, tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}"
        status, body = run_lambda(url, "echo", {"text": "é'\t"})
        assert (status, json.loads(body)["data"]) == (200, [{"text": "é'\t"}])
        assert run_lambda(url, "echo", {"text": "a"}, version=echo.version, suffix="ndjson") == (200, b'{"text":"a"}\n')
        status, body = run_lambda(url, "no/such", {})
        assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")
        assert list(all_pages(url, "paged", {"count": 3})) == [b'{"n":0}\n{"n":1}\n', b'{"n":2}\n']
        assert list(all_pages(url, "echo", {"text": "a"})) == [b'{"text":"a"}\n']
        with pytest.raises(CommandError, match="lambda paged answered 400"):
            list(all_pages(url, "paged", {}))


def test_no_server() -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="no server answers"):
            run_lambda(f"http://127.0.0.1:{taken.getsockname()[1]}", "echo", {})
