"""One process at a time where two would collide: in the batch DuckDB file, in the lake."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

from realtime.settings import Settings

BATCH = "batch"
"""Work in the batch database: DuckDB refuses a second process that opens a file."""

EXPORT = "export"
"""Writing to the lake, which refuses a second writer."""


@contextlib.contextmanager
def turn(settings: Settings, work: str) -> Iterator[None]:
    """Waits until no other run of this project does ``work`` (`BATCH`, `EXPORT`), and keeps others out meanwhile.

    Runs and code locations are processes of their own, and Dagster's pools limit them only where an operator has
    set a limit.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / f"dagster-{work}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
