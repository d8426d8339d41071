"""What one lambda call, and all of them together, may take."""

from __future__ import annotations

import dataclasses
import math
import os

from realtime.planner.ir import CallLimits


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_flight() -> int:
    """Three queries per two cores give a direct caller's throughput with a fifth of its p99 (32 callers: 29 ms
    instead of 159)."""
    return max(2, math.ceil(1.5 * _cores()))


_SHARE = 4
"""The calls of a lambda whose queries are few take a quarter of the places to wait, the rest stays for others."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """``seconds`` a query may run, ``rows`` and ``bytes`` it may answer, ``in_flight`` queries at a time,
    ``at_once`` of them at most for calls that could be asked together, ``waiting`` calls that wait for their turn;
    ``slow`` seconds after which calls wait no longer for a query's end; ``parameters`` bytes of bound parameters;
    ``memory`` bytes that a query may use, 0: what ClickHouse's user may; ``light`` rows of a key that take less to
    read than states to merge (measured: 120,000 as long, a million three times as long)."""

    seconds: float = 10
    rows: int = 100_000
    bytes: int = 64 << 20
    in_flight: int = dataclasses.field(default_factory=_in_flight)
    at_once: int = dataclasses.field(default_factory=_cores)
    waiting: int = 1_024
    slow: float = 0.05
    parameters: int = 512 << 10
    memory: int = 0
    light: int = 100_000

    def of(self, own: CallLimits | None) -> Limits:
        """The limits of a lambda that has its ``own``."""
        if own is None:
            return self
        return dataclasses.replace(
            self,
            seconds=own.seconds or self.seconds,
            rows=own.rows or self.rows,
            memory=own.megabytes << 20 or self.memory,
            in_flight=own.concurrency or self.in_flight,
            waiting=self.waiting // _SHARE if own.concurrency else self.waiting,
        )
