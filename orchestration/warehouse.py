"""One process at a time in the batch DuckDB file."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

from realtime.settings import Settings


@contextlib.contextmanager
def batch_database(settings: Settings) -> Iterator[None]:
    """Waits until no other run of this project works in the batch database, and keeps others out.

    DuckDB refuses a second process that opens a file; runs, steps and code locations are processes of their own,
    and Dagster's pools limit them only where an operator set a limit.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / "batch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
