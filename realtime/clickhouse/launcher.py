"""Runs ClickHouse from its embeddable library as a server on loopback, for development and tests.

The library's entry point is that of ``clickhouse local``: it reads queries from files, and
``SYSTEM START LISTEN`` opens the HTTP and native ports. The second queries file is a pipe that
stays open as long as the server should run.

Run as ``python -m realtime.clickhouse.launcher``. Exit status: 0 stopped on request, 1 the stop took too
long, 3 the engine ended by itself (its words are on stderr).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
import uuid
from pathlib import Path

from realtime.clickhouse.failed_writes import DISK, VERIFIED, FailedWrites, wait_for_room
from realtime.clickhouse.grants import grants
from realtime.clickhouse.tokens import forget_lost
from realtime.daemon import announce
from realtime.disk import kept_free

_STOP = b"SYSTEM STOP LISTEN HTTP; SYSTEM STOP LISTEN TCP; KILL QUERY WHERE query_id != queryID() SYNC;"
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}


class Engine:
    """The library's main function in a thread of its own; ``ended`` is set when it returns.

    ``again`` is the command that the process becomes where a write fails."""

    def __init__(self, library: Path, arguments: list[str], again: list[str]) -> None:
        self.ended = threading.Event()
        self.error = ""
        self._library = ctypes.CDLL(str(library))
        self.failed_writes = _failed_writes(library, again)
        self._library.chdb_query_cmdline.restype = ctypes.c_void_p
        self._library.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
        self._library.chdb_result_error.restype = ctypes.c_char_p
        self._library.chdb_result_error.argtypes = [ctypes.c_void_p]
        self._arguments = [a.encode() for a in arguments]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            count = len(self._arguments)
            result = self._library.chdb_query_cmdline(count, (ctypes.c_char_p * count)(*self._arguments))
            error = self._library.chdb_result_error(result) if result else b"no result"
            self.error = (error or b"").decode(errors="replace")
        finally:
            self.ended.set()
            os.kill(os.getpid(), signal.SIGUSR1)  # wakes sigwait in the main thread


def main() -> None:
    """Starts the engine, announces its ports and runs until a signal or the engine's end."""
    options = _options()
    data = options.path
    os.closerange(3, 2**16)  # of the process that this one has replaced, as the signals that it blocked
    signal.pthread_sigmask(signal.SIG_SETMASK, _SIGNALS)  # before any engine thread exists: they inherit it
    start, ports = _prepared_again(data) if options.again else _prepare(data)
    for part in forget_lost(data):
        print("killed before it kept this part, whose rows may be inserted again:", part, file=sys.stderr)
    os.chdir(data)  # clickhouse local would read a config.xml of any other folder
    os.environ["DUET_READ_GRANTS"] = grants(options.reads)  # users.xml has it
    os.environ["DUET_CLICKHOUSE_KEPT_FREE"] = str(kept_free(data))  # and this config.xml
    reading, writing = os.pipe()
    engine = Engine(
        options.library,
        ["clickhouse-local", f"--config-file={options.config}", f"--path={data}", f"--listen_host={options.host}",
         f"--http_port={options.http_port}", f"--tcp_port={options.tcp_port}",
         "--queries-file", str(start), f"/dev/fd/{reading}"],
        _again(options),
    )  # fmt: skip
    threading.Thread(target=_announce, args=(ports, options, engine), daemon=True).start()
    signal.sigwait(_SIGNALS)
    if engine.ended.is_set():
        print("ClickHouse ended:", engine.error or "see its log", file=sys.stderr, flush=True)
        os._exit(3)
    os.write(writing, _STOP)
    os.close(writing)
    # The library's static destructors crash, so the process leaves without running them.
    os._exit(0 if engine.ended.wait(options.stop_timeout) else 1)


def _failed_writes(library: Path, again: list[str]) -> FailedWrites | None:
    if not VERIFIED:
        return None
    try:
        return FailedWrites(library, again)
    except OSError as error:  # a system that lets no process make code of its own
        print(f"where a write fails, on a full disk, rows can be lost: {error}", file=sys.stderr)
        return None


def _again(options: argparse.Namespace) -> list[str]:
    """The command that starts this again, from whatever folder."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items() if name != "again"]
    return [sys.executable, "-m", "realtime.clickhouse.launcher", *given, "--again"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--library", type=_resolved, required=True, help="libchdb.so")
    parser.add_argument("--path", type=_resolved, required=True, help="data directory, kept across restarts")
    parser.add_argument("--ready", type=_resolved, required=True, help="file that tells when the server is ready")
    parser.add_argument("--reads", default="default", help="database that the user for lambdas may read")
    parser.add_argument("--config", type=_resolved, default=Path(__file__).with_name("config.xml"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, default=0, help="0: the system picks one")
    parser.add_argument("--tcp-port", type=int, default=0, help="0: the system picks one")
    parser.add_argument("--again", action="store_true", help="after a write that failed: once the disk has room")
    parser.add_argument("--stop-timeout", type=float, default=20.0, help="seconds")
    return parser.parse_args()


def _resolved(path: str) -> Path:
    return Path(path).resolve()


def _prepare(data: Path) -> tuple[Path, Path]:
    """The start statements and where they report the ports; seeds the databases before the first start."""
    metadata = data / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    for database in ("system", "default"):  # without it, the logs of `system` break on the second start
        file = metadata / f"{database}.sql"
        if not file.exists():
            file.write_text(f"ATTACH DATABASE _ UUID '{uuid.uuid4()}'\nENGINE = Atomic\n")
    start, ports = data / "start.sql", data / "ports.json"
    ports.unlink(missing_ok=True)
    start.write_text(
        "SYSTEM START LISTEN HTTP;\nSYSTEM START LISTEN TCP;\n"
        "SELECT getServerPort('http_port') AS http_port, getServerPort('tcp_port') AS tcp_port, version() AS version\n"
        f"INTO OUTFILE '{ports}' TRUNCATE FORMAT JSONEachRow;\n"
    )
    return start, ports


def _prepared_again(data: Path) -> tuple[Path, Path]:
    """The same as soon as the disk has room for it; OSError where it is something else that the disk lacks."""
    while True:
        wait_for_room(data, _SIGNALS)
        try:
            return _prepare(data)
        except OSError as error:
            if error.errno not in DISK:
                raise


def _announce(ports: Path, options: argparse.Namespace, engine: Engine) -> None:
    while not engine.ended.is_set():
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(ports.read_bytes())
            options.http_port, options.tcp_port = found["http_port"], found["tcp_port"]
            if engine.failed_writes is not None:
                engine.failed_writes.instead(_again(options))
            announce(options.ready, {**found, "reads": options.reads})
            return
        time.sleep(0.02)


if __name__ == "__main__":
    main()
