"""What goes on beside a test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def beside(work: Callable[[threading.Event], T]) -> Iterator[Future[T]]:
    """Runs ``work`` in a thread until the block ends, which sets the event that it is given; raises what it raised."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, stop)
        try:
            yield running
        finally:
            stop.set()
        running.result()
