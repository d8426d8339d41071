"""Faults at random under calls, for minutes: ``python -m tests.faults.soak_calls --minutes 10 --callers 50 --seed 1``.

Prints what it did and the servers' memory; ends with status 1 where an answer is wrong or missing, or where memory has
grown by more than a quarter since the first minute.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.faults import test_calls
from tests.faults.callers import Callers, fill, totals
from tests.faults.ground import Ground, ground
from tests.server.running import until


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    # The first server is killed at times: the second is the one whose memory counts.
    with tempfile.TemporaryDirectory() as folder, ground(Path(folder), 2, version_of=totals) as on:
        _run(on, options.callers, options.minutes * 60, random.Random(options.seed))


def _run(on: Ground, count: int, seconds: float, chance: random.Random) -> None:
    process = psutil.Process(on.servers[1].process.pid)
    began, early = time.monotonic(), 0.0
    callers = Callers(on, count, fill(on))
    with callers.running():
        while (passed := time.monotonic() - began) < seconds:
            fault = chance.choice(test_calls.FAULTS)
            fault(on, callers)
            until(lambda: test_calls.recovered(callers), 30)
            memory = process.memory_info().rss / 2**20
            if passed < 60:
                early = max(early, memory)
            print(
                f"{passed:4.0f} s: {fault.__name__}: {callers.statuses.total():,} calls, {callers.statuses[200]:,} "
                f"answered; slowest {callers.slowest:.1f} s; {memory:.0f} MiB; version {on.version}",
                flush=True,
            )
            time.sleep(chance.random() * 2)
    if memory > early * 1.25:
        sys.exit(f"memory has grown from {early:.0f} to {memory:.0f} MiB")
    print(f"every answer was right; memory {early:.0f} MiB after a minute, {memory:.0f} at the end")


if __name__ == "__main__":
    main()
