"""Seven sources of one visitor at a steady 150 calls a second, beside LEFT JOINs sent to ClickHouse directly.

    python benchmarks/visitor.py [--rate N] [--seconds N] [--runs N]

Open loop: a call is sent when it is due, whether those before were answered or not; its latency counts from then. The
sides alternate; medians of the runs are printed as one JSON object: p50 and p99 in ms, and the share of calls that were
errors (ClickHouse refuses queries beyond its hundred at a time); for the ratio, less is better.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from typing import NamedTuple

import aiohttp
from lambdas import VISITORS, direct, joined, served

from realtime.services import server_url

PATIENCE = 20.0
"""Seconds after which a call counts as an error."""


class Latency(NamedTuple):
    """In ms, of the calls that were answered; ``failed`` is the share of the others."""

    p50: float
    p99: float
    failed: float


def main() -> None:
    """Measures both sides."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=150, help="calls a second")
    parser.add_argument("--seconds", type=float, default=10, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    options = parser.parse_args()
    with served() as (settings, endpoint, plan):
        sides = {
            "ours": f"{server_url(settings)}/v1/lambdas/seven?key=KEY",
            "joins": direct(endpoint, joined(plan.database), "&param_key=KEY"),
        }
        found: dict[str, list[Latency]] = {side: [] for side in sides}
        for _ in range(options.runs):
            for side, url in sides.items():
                found[side].append(asyncio.run(_load(url, options.rate, options.seconds)))
    middle = {s: Latency(*(round(statistics.median(v), 3) for v in zip(*r, strict=True))) for s, r in found.items()}
    ratios = {
        f"{w}_to_joins": round(getattr(middle["ours"], w) / getattr(middle["joins"], w), 3) for w in ("p50", "p99")
    }
    print(json.dumps({"calls_per_second": options.rate, **{s: m._asdict() for s, m in middle.items()}, **ratios}))


async def _load(url: str, rate: float, seconds: float) -> Latency:
    times: list[float] = []
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(due: float) -> None:
            address = url.replace("KEY", str(random.randrange(VISITORS)))
            try:
                async with session.get(address) as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                return
            if answer.status == 200:
                times.append((time.perf_counter() - due) * 1000)

        count, calls = int(rate * seconds), []
        began = time.perf_counter()
        for number in range(count):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.append(asyncio.create_task(call(due)))
        await asyncio.gather(*calls)
    times.sort()
    if not times:
        return Latency(PATIENCE * 1000, PATIENCE * 1000, 1.0)
    return Latency(times[len(times) // 2], times[len(times) * 99 // 100], 1 - len(times) / count)


if __name__ == "__main__":
    main()
