"""Processes that outlive the command that starts them: the local ClickHouse and the HTTP server.

A daemon is known by a record in ``.duet/<name>.json``. The pid in it counts only together with the moment at
which that process was made, so that a pid that the system used again is never taken for ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from realtime.errors import CommandError


class Record(msgspec.Struct, frozen=True):
    """A running daemon: ``created`` is its process's start, in seconds since 1970; ``details`` is what it said
    of itself when it was ready (ports, version). One that is not ``ready`` is still starting."""

    pid: int
    created: float
    details: dict[str, Any] = msgspec.field(default_factory=dict)
    ready: bool = False


class Daemon(msgspec.Struct, frozen=True):
    """``name`` as in its files ``<name>.json``, ``<name>.log`` and ``<name>.ready`` below ``folder``."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.folder / f"{self.name}.log"

    @property
    def ready(self) -> Path:
        """The process writes its details there, as JSON, once it serves."""
        return self.folder / f"{self.name}.ready"

    @property
    def _record(self) -> Path:
        return self.folder / f"{self.name}.json"

    def running(self) -> Record | None:
        """Its record, if the process lives and serves."""
        record = self._recorded()
        if record is None:
            return None
        return record if record.ready and _process(record) is not None else None

    def start(
        self, command: Sequence[str], *, timeout: float = 60, environment: Mapping[str, str] | None = None
    ) -> Record:
        """Starts ``command`` detached and waits until it is ready; the running one is returned as it is.

        CommandError with the end of the log where it ends or is not ready after ``timeout`` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            found = self.running()
            if found is not None:
                return found
            self._end_recorded(10)  # one that a command started, and was killed before it was ready
            process = self._spawn(command, environment)
            try:
                record = Record(process.pid, process.create_time())
                _write(self._record, msgspec.json.encode(record))
                record = Record(record.pid, record.created, self._wait(process, timeout), ready=True)
                _write(self._record, msgspec.json.encode(record))
            except BaseException:
                _end(process, 10)
                raise
            return record

    def stop(self, timeout: float = 30) -> bool:
        """Ends the process in order; by force after ``timeout`` seconds. False where none runs."""
        if not self.folder.exists():
            return False
        with self._locked():
            return self._end_recorded(timeout)

    def _recorded(self) -> Record | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    def _end_recorded(self, timeout: float) -> bool:
        record = self._recorded()
        process = _process(record) if record is not None else None
        if process is not None:
            _end(process, timeout)
        self._record.unlink(missing_ok=True)
        self.ready.unlink(missing_ok=True)
        return process is not None

    def _spawn(self, command: Sequence[str], environment: Mapping[str, str] | None) -> psutil.Process:
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        env = {**os.environ, **(environment or {})}
        return psutil.Process(os.posix_spawn(command[0], list(command), env, file_actions=files, setsid=True))

    def _wait(self, process: psutil.Process, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                details: dict[str, Any] = json.loads(self.ready.read_bytes())
                return details
            with contextlib.suppress(psutil.TimeoutExpired):
                status = process.wait(0.02)
                raise CommandError(f"{self.name} ended with status {status} while starting{self._tail()}")
        raise CommandError(f"{self.name} is not ready after {timeout:g} s{self._tail()}", remedy=f"see {self.log}")

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-8:]
        return ":\n" + "\n".join(f"  {line}" for line in lines) if lines else ""

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Of two commands that start the daemon at once, the second finds it running."""
        with (self.folder / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def announce(ready: Path, details: Mapping[str, Any]) -> None:
    """Tells the command that started this process that it serves; ``details`` go into its record."""
    _write(ready, msgspec.json.encode(details))


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def _process(record: Record) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def _end(process: psutil.Process, timeout: float) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(5)
