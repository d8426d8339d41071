"""Ends what a run of the tests leaves behind, also where that run is killed: servers outlive the command that starts
them, so they would run for ever.

Each run gives its processes a mark in their environment, and this is a process of its own: it waits until the run is
gone, which closes the pipe between them, and ends those that have the mark.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

MARK = "DUET_TEST_RUN"


def watch() -> subprocess.Popen[bytes] | None:
    """Has what this process starts from now on end with it; None where it is part of such a run itself."""
    if MARK in os.environ:
        return None
    mark = uuid.uuid4().hex
    command = [sys.executable, str(Path(__file__)), mark]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    os.environ[MARK] = mark
    return watcher


def marked(mark: str) -> list[psutil.Process]:
    """The processes that have ``mark``."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def main() -> None:
    """Waits for the run's end; what is started meanwhile is found by another look."""
    sys.stdin.buffer.read()
    while found := marked(sys.argv[1]):
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=5)


if __name__ == "__main__":
    main()
