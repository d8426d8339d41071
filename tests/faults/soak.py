"""All faults at random, for minutes: ``python -m tests.faults.soak --minutes 5 --senders 50 --servers 2 --seed 1``.

Prints what it did each time and whether every row counts once after it; ends with status 1 where one does not.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.faults import test_faults
from tests.faults.ground import Ground, ground
from tests.faults.senders import Senders
from tests.server.running import until


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--senders", type=int, default=50)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, ground(Path(folder), servers=options.servers) as on:
        rounds = _run(on, options.senders, options.minutes * 60, random.Random(options.seed))
    print(f"{rounds} rounds, every row counted once")


def _run(on: Ground, count: int, seconds: float, chance: random.Random) -> int:
    """Rounds of a few faults each under load, and a look at every row after each round."""
    end = time.monotonic() + seconds
    acknowledged: set[int] = set()
    sent: set[int] = set()
    first = rounds = 0
    while time.monotonic() < end:
        senders = Senders(on, count, first=first)
        done = []
        with senders.running():
            for fault in chance.choices(test_faults.FAULTS, k=chance.randint(1, 4)):
                time.sleep(chance.random())
                fault(on)
                done.append(fault.__name__)
            time.sleep(chance.random())
        first, rounds = senders.last, rounds + 1
        acknowledged |= senders.acknowledged
        sent |= senders.sent
        print(f"{rounds}: {', '.join(done)}", flush=True)
        until(on.is_whole, 60)
        on.verify(acknowledged, sent)
        print(
            f"   {senders.requests} requests, {senders.errors} of them without an answer, {len(acknowledged):,} rows "
            f"acknowledged, {len(sent) - len(acknowledged):,} not; version {on.version}",
            flush=True,
        )
    return rounds


if __name__ == "__main__":
    main()
