"""The server as a process of its own."""

from __future__ import annotations

import gc
import hashlib
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import Endpoint, database_name, find_endpoint
from realtime.clickhouse.reader import check_reader, find_reader
from realtime.daemon import Daemon, Record, announce
from realtime.errors import PortInUseError
from realtime.server.app import create_app
from realtime.server.origin import check_host, is_public
from realtime.serving.tokens import Tokens
from realtime.settings import Settings

# Calls in flight when the server is told to stop may end; a lambda takes ten seconds at most.
_GRACE = 15
_BACKLOG = 2048
_GARBAGE = 10_000
"""New objects after which the collector looks for cycles. There are hardly any (150 objects of 22,000 calls), and with
Python's 700 it takes a tenth of the server's CPU."""
_OF_COMMANDS = frozenset({
    "DUET_PROJECT_DIR", "DUET_CLICKHOUSE_PORT", "DUET_CLICKHOUSE_MEMORY", "DUET_CLICKHOUSE_LIBRARY", "DUET_TOKEN",
    "DUET_LAKE", "DUET_BACKFILL_THREADS", "DUET_KEEP_DAYS",
})  # fmt: skip


def daemon(settings: Settings) -> Daemon:
    """The server's process."""
    return Daemon("server", settings.state_dir)


def start(settings: Settings) -> Record:
    """Starts the server, or finds it running; one that serves another ClickHouse than now is meant, or has other
    settings, is replaced.

    ``details`` of the record hold ``url``, ``port`` and what it ``serves``. PortInUseError, UnavailableError where
    ClickHouse is not up.
    """
    here, endpoint = daemon(settings), find_endpoint(settings)
    _check_host(settings, settings.text("DUET_SERVER_HOST"))
    check_reader(settings)
    found = here.running()
    if found is not None and found.details.get("serves") == _serves(settings, endpoint):
        return found
    if found is not None:
        here.stop()
    _listen(settings.text("DUET_SERVER_HOST"), settings.number("DUET_SERVER_PORT")).close()
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "realtime.server", "--project-dir", str(settings.project_dir)]
    command += ["--ready", str(here.ready)]
    return here.start(command, environment=settings.values)


def _check_host(settings: Settings, host: str) -> None:
    if is_public(host):
        with ClickHouse(find_endpoint(settings)) as client:
            check_host(host, len(Tokens(client, database_name(settings)).all()))


def _serves(settings: Settings, endpoint: Endpoint) -> str:
    """The database, the users, the code and the settings that a server works with."""
    values = sorted((name, value) for name, value in settings.values.items() if name not in _OF_COMMANDS)
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    found = [values, [(f.name, f.stat().st_mtime_ns) for f in files]]
    code = hashlib.sha256(str(found).encode()).hexdigest()[:12]
    return f"{endpoint.user} and {find_reader(settings).user} at {endpoint.url}/{database_name(settings)} by {code}"


def serve(settings: Settings, host: str, port: int, ready: Path | None) -> NoReturn:
    """Serves until SIGTERM or SIGINT, then lets calls in flight end; ``port`` 0: the system picks one."""
    _check_host(settings, host)
    check_reader(settings)
    listening = _listen(host, port)
    app = create_app(settings, public=is_public(host))
    signal.signal(signal.SIGTERM, _leave)  # uvicorn raises the signal again once it has stopped
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_config=None, lifespan="on", server_header=False,
        date_header=False, proxy_headers=False, timeout_graceful_shutdown=_GRACE, timeout_keep_alive=75,
    )  # fmt: skip
    details = {
        "url": f"http://{_shown(host)}:{listening.getsockname()[1]}",
        "port": listening.getsockname()[1],
        "serves": _serves(settings, find_endpoint(settings)),
    }
    _Server(config, ready, details).run(sockets=[listening])
    sys.exit(0)


class _Server(uvicorn.Server):
    """Tells when it serves."""

    def __init__(self, config: uvicorn.Config, ready: Path | None, details: dict[str, str | int]) -> None:
        super().__init__(config)
        self._ready = ready
        self._details = details

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.set_threshold(_GARBAGE)
        gc.freeze()  # what is there now stays: looking through it again would hold up calls for tens of milliseconds
        if self.started and self._ready is not None:
            announce(self._ready, self._details)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        gc.unfreeze()


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; PortInUseError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        raise PortInUseError(
            f"the server can't listen on {host}:{port}: {error}",
            remedy="set DUET_SERVER_PORT to a free port (0: any), or stop what listens there",
        ) from None
    return found


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _leave(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(0)
