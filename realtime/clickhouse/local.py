"""The local ClickHouse: started from the registry's library, kept in ``.duet/``."""

from __future__ import annotations

import errno
import platform
import socket
import sys
from pathlib import Path

from realtime.clickhouse.endpoint import Endpoint
from realtime.daemon import Daemon, Record
from realtime.disk import check_start
from realtime.errors import ConfigError, PortInUseError
from realtime.settings import Settings

HOST = "127.0.0.1"
_PACKAGE = "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"


def daemon(settings: Settings) -> Daemon:
    """The local server's process."""
    return Daemon("clickhouse", settings.state_dir)


def local_endpoint(settings: Settings) -> Endpoint | None:
    """The local server if it runs."""
    found = daemon(settings).running()
    return Endpoint(HOST, int(found.details["http_port"]), data=str(_data(settings))) if found else None


def start(settings: Settings, database: str = "default") -> Record:
    """Starts the local server, or finds it running; ``database`` is what its user for lambdas may read.
    PortInUseError, FullError, ConfigError where the library is missing."""
    here = daemon(settings)
    found = here.running()
    if found is not None:
        return found
    library = find_library(settings)
    port = settings.number("DUET_CLICKHOUSE_PORT")
    check_port(port, "DUET_CLICKHOUSE_PORT")
    check_start(settings.state_dir)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    (settings.state_dir / ".gitignore").write_text("*\n")
    command = [sys.executable, "-m", "realtime.clickhouse.launcher", "--library", str(library)]
    command += ["--path", str(_data(settings)), "--ready", str(here.ready)]
    command += ["--http-port", str(port), "--reads", database]
    return here.start(command, environment={"DUET_CLICKHOUSE_MEMORY": str(settings.number("DUET_CLICKHOUSE_MEMORY"))})


def _data(settings: Settings) -> Path:
    return settings.state_dir / "clickhouse"


def find_library(settings: Settings) -> Path:
    """``libchdb.so``: as set, or where `npm ci` puts it, in the project or beside this package."""
    given = settings.text("DUET_CLICKHOUSE_LIBRARY")
    if given:
        if not Path(given).exists():
            raise ConfigError(f"DUET_CLICKHOUSE_LIBRARY is {given}, which does not exist", remedy="correct or unset it")
        return Path(given)
    for root in (settings.project_dir, Path(__file__).parents[2]):
        if (root / _PACKAGE).exists():
            return root / _PACKAGE
    here = f"{platform.system()} {platform.machine()}"
    other = "" if here == "Linux x86_64" else f" (it is verified on Linux x86_64 only; this is {here})"
    raise ConfigError(
        f"the ClickHouse library is not installed{other}",
        remedy=f"run `npm ci` in {Path(__file__).parents[2]}, or set CLICKHOUSE_URL to a server",
    )


def check_port(port: int, setting: str) -> None:
    """PortInUseError where something listens on ``port`` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            raise PortInUseError(
                f"port {port} is in use by another program" if taken else f"port {port} can't be used: {error}",
                remedy=f"set {setting} to a free port (0: any)",
            ) from None
