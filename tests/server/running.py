"""The server as a process, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from realtime.clickhouse.endpoint import Endpoint


class Answer(NamedTuple):
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error, after a look at the one shape that it must have."""
        found = self.json
        assert set(found) == {"error", "request_id"}, found
        assert set(found["error"]) == {"code", "message", "details"}, found
        assert self.headers["content-type"] == "application/json"
        assert self.headers["x-request-id"] == found["request_id"]
        return found["error"]


class Running(NamedTuple):
    """A server that answers at ``port``; ``log`` is the file of its lines."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(
        self, path: str, body: Any = None, *, method: str = "", headers: Mapping[str, str] | None = None, **query: Any
    ) -> Answer:
        """One request; ``body`` is sent as it is where it is bytes, else as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        address = f"{path}?{urllib.parse.urlencode(query, doseq=True)}" if query else path
        with contextlib.closing(connection):
            connection.request(method or ("GET" if body is None else "POST"), address, content, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def lines(self, message: str) -> list[dict[str, Any]]:
        """The log's lines with ``message``."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["message"] == message]

    def stop(self) -> int:
        """Ends it in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextlib.contextmanager
def running(endpoint: Endpoint, database: str, folder: Path, **given: str) -> Iterator[Running]:
    """A server over ``database`` of ``endpoint`` with the settings ``given``, ended afterwards."""
    ready, log = folder / "server.ready", folder / "server.log"
    command = [
        sys.executable,
        "-m",
        "realtime.server",
        "--project-dir",
        str(folder),
        "--ready",
        str(ready),
        "--port",
        "0",
    ]
    environment = {**os.environ, **given, "CLICKHOUSE_URL": f"{endpoint.url}/{database}"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        until(lambda: ready.exists() or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield Running(process, json.loads(ready.read_bytes())["port"], log)
    finally:
        process.kill()
        process.wait(10)


def until(condition: Callable[[], Any], seconds: float = 15) -> None:
    """Waits for ``condition``; an error where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
