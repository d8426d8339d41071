"""A real Postgres on a folder of its own, reached by a socket in it: nothing else on the machine is touched."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

_USER = "duet"


@dataclasses.dataclass(frozen=True)
class Postgres:
    """A running server. ``folder`` holds its socket: it is the ``host`` of clients; ``user`` needs no password."""

    folder: Path
    user: str = _USER
    database: str = "postgres"

    def execute(self, sql: str, database: str = "") -> str:
        """Runs statements and gives what they print, columns divided by tabs; CalledProcessError where one fails."""
        command = [_program("psql"), "-h", str(self.folder), "-U", self.user, "-d", database or self.database]
        command += ["-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(command, input=sql, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{sql}"
        return done.stdout

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of ``query``, each by column name; numbers that are no integers are Decimals, moments are text."""
        lines = self.execute(f"SELECT to_json(_q) FROM (\n{query}\n) AS _q;").splitlines()
        return [json.loads(line, parse_float=Decimal) for line in lines]


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """Starts a server; it ends, and its folder goes, with the context.

    Its text is ordered as in Debian's usual locale for servers, C.UTF-8, and its sessions are in another time zone
    than UTC, so that what depends on the zone shows.
    """
    folder = Path(tempfile.mkdtemp(prefix="duet-postgres-"))
    # Postgres refuses to run as root.
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = folder / "data"
    options = ["-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run([_program("initdb"), "-D", data, *options], check=True, capture_output=True, cwd="/", **as_user)
    settings = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "timezone=America/New_York"]
    arguments: Sequence[str] = [a for s in settings for a in ("-c", s)]
    server = subprocess.Popen(
        [_program("postgres"), "-D", data, *arguments], cwd="/", stderr=subprocess.DEVNULL, **as_user
    )
    try:
        _wait(server, folder)
        yield Postgres(folder)
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: subprocess.Popen[bytes], folder: Path) -> None:
    ready = [_program("pg_isready"), "-q", "-h", str(folder)]
    deadline = time.monotonic() + 60
    while subprocess.run(ready, check=False).returncode:
        assert server.poll() is None, "Postgres did not start"
        assert time.monotonic() < deadline, "Postgres did not answer within a minute"
        time.sleep(0.05)


def _program(name: str) -> str:
    """Where Debian puts it (not on the path), newest edition first; else the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[4]), reverse=True)
    program = str(found[0]) if found else shutil.which(name)
    assert program, f"{name} is missing: `make test` installs Postgres"
    return program
