"""What one lambda call, and all of them together, may take."""

from __future__ import annotations

import dataclasses
import math
import os


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_flight() -> int:
    """Three queries per two cores give a direct caller's throughput with a fifth of its p99 (32 callers: 29 ms
    instead of 159)."""
    return max(2, math.ceil(1.5 * _cores()))


@dataclasses.dataclass(frozen=True)
class Limits:
    """``seconds`` a query may run, ``rows`` and ``bytes`` it may answer, ``in_flight`` queries at a time,
    ``at_once`` of them at most for calls that could be asked together, ``waiting`` calls that wait for their turn;
    ``slow`` seconds after which calls wait no longer for a query's end; ``parameters`` bytes of bound parameters."""

    seconds: float = 10
    rows: int = 100_000
    bytes: int = 64 << 20
    in_flight: int = dataclasses.field(default_factory=_in_flight)
    at_once: int = dataclasses.field(default_factory=_cores)
    waiting: int = 1_024
    slow: float = 0.05
    parameters: int = 512 << 10
