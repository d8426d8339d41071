"""One process at a time where two would collide: in the batch DuckDB file, in the lake."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from realtime.errors import BusyError
from realtime.settings import Settings

BATCH = "batch"
"""Work in the batch database: DuckDB refuses a second process that opens a file."""

EXPORT = "export"
"""Writing to the lake, which refuses a second writer."""

_WHAT = {BATCH: "works in the batch database", EXPORT: "writes to the lake"}


@contextlib.contextmanager
def turn(
    settings: Settings, work: str, patience: float = math.inf, report: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Waits until no other run of this project does ``work`` (`BATCH`, `EXPORT`), and keeps others out meanwhile.

    Runs and code locations are processes of their own, and Dagster's pools limit them only where an operator has
    set a limit. ``report`` is told once that it waits; BusyError where it is still so after ``patience`` seconds.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / f"{work}.lock").open("a+") as lock:
        _take(lock, work, patience, report)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _take(lock: TextIO, work: str, patience: float, report: Callable[[str], None]) -> None:
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = f"another run (process {lock.read() or 'unknown'}) {_WHAT[work]}"
        if time.monotonic() > deadline:
            raise BusyError(
                f"{holder}, still after {patience:g} s",
                remedy="run this again when it is done, or wait longer: --wait SECONDS",
            )
        if not told:
            report(f"waiting: {holder}" + ("" if patience == math.inf else f"; for at most {patience:g} s"))
            told = True
        time.sleep(0.1)
