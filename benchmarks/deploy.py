"""What a deploy costs: backfilled rows per second, and readers' worst latency while a model is deployed again.

    python benchmarks/deploy.py [--rows N] [--runs N] [--threads N] [--merged]

Backfill: the states over `chat.messages` are filled by `realtime.deploy.backfill` (chunks that count once, resumable,
into a table beside) and, beside it, each by one bare `INSERT … SELECT` of the same view. Runs alternate. Readers: two
ask a read view for one stream, first alone, then while the model is deployed in a changed form, dbt's build and tests
included. Medians are printed as one JSON object a line; `ratio` is what to look at.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import msgspec
from example import copied

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.clickhouse.local import daemon
from realtime.clickhouse.local import start as start_clickhouse
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.deploy.backfill import backfill
from realtime.deploy.cutover import cut_over
from realtime.deploy.diff import states_of
from realtime.deploy.ledger import Ledger, Work
from realtime.deploy.live import read_live
from realtime.emit.ddl import create_state
from realtime.planner.ir import Plan, State
from realtime.settings import Settings

SECONDS = 8.0
"""How long readers are measured alone."""
_MODEL = Path("models/chat/marts/stream_minutes.sql")
_ROWS = """
INSERT INTO {landing} (message_id, stream_id, sender_id, text, sent_at)
SELECT toString(number), concat('stream ', toString(cityHash64(number) % 200)),
  concat('sender ', toString(cityHash64(number, 1) % 50000)), repeat('x', number % 80),
  toDateTime64('2024-01-01 00:00:00', 6, 'UTC') + toIntervalSecond(number % 2000000)
FROM numbers({first}, {count})"""


def main() -> None:
    """Measures the example project on a server of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows in the landing table")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=2, help="chunks at a time")
    parser.add_argument("--merged", action="store_true", help="rows of all times of arrival are in one part, by key")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(copied(Path(folder)), {"DUET_CLICKHOUSE_PORT": "0"})
        try:
            start_clickhouse(settings)
            plan = compile_project(settings).plan
            with ClickHouse(find_endpoint(settings)) as client:
                deploy(settings, plan, client, lambda _: None)
                _fill(client, plan, options.rows)
                if options.merged:
                    client.execute(f"OPTIMIZE TABLE {_landing(plan)} FINAL")
                _measure_backfill(client, plan, options.rows, options.runs, options.threads)
                _measure_readers(settings, plan, client)
        finally:
            daemon(settings).stop()


def _landing(plan: Plan) -> str:
    return next(s.landing for s in plan.sources if s.name == "chat.messages")


def _fill(client: ClickHouse, plan: Plan, rows: int) -> None:
    """Rows as they come in over an hour: in inserts that each have a moment of their own."""
    for first in range(0, rows, 100_000):
        client.execute(_ROWS.format(landing=_landing(plan), first=first, count=min(100_000, rows - first)))


def _measure_backfill(client: ClickHouse, plan: Plan, rows: int, runs: int, threads: int) -> None:
    states = [s for s in states_of(plan).values() if _landing(plan) in {view.landing for view in s.views}]
    times: dict[str, list[float]] = {"bare": [], "backfill": []}
    for _ in range(runs):
        times["bare"].append(sum(_bare(client, state) for state in states))
        times["backfill"].append(_backfilled(client, plan, states, threads))
    rates = {side: len(states) * rows / statistics.median(seconds) for side, seconds in times.items()}
    _print(
        "backfill",
        states=len(states),
        rows=rows,
        rows_per_second=round(rates["backfill"]),
        bare_rows_per_second=round(rates["bare"]),
        ratio=round(rates["backfill"] / rates["bare"], 2),
    )


def _bare(client: ClickHouse, state: State) -> float:
    """Seconds of one insert of all rows through each view."""
    table = f"{state.relation}__bare"
    client.execute(create_state(msgspec.structs.replace(state, relation=table)))
    began = time.perf_counter()
    for view in state.views:
        # Of all rows at once: that takes more memory than the local server gives a query.
        client.execute(f"INSERT INTO {table} {view.select}", settings={"max_memory_usage": 0})
    seconds = time.perf_counter() - began
    client.execute(f"DROP TABLE {table} SYNC")
    return seconds


def _backfilled(client: ClickHouse, plan: Plan, states: list[State], threads: int) -> float:
    """Seconds from a cut-over until the states hold every row; the cut-over's own wait is no part of it."""
    ledger = Ledger(client, plan.database)
    ledger.mark([state.relation for state in states], "dropped")
    work = Work(client, ledger, lambda _: None, lambda: None, "benchmark", threads=threads)
    for state in states:
        for name in (*(view.name for view in state.views), state.relation):
            client.execute(f"DROP TABLE IF EXISTS {name} SYNC")
    cuts = cut_over(work, states, read_live(client, plan.database))
    began = time.perf_counter()
    for state in states:
        backfill(work, state, cuts[state.relation])
    return time.perf_counter() - began


class _Readers:
    """Two readers of one stream's minutes; `worst` and `median` are in milliseconds."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self.times: list[float] = []
        self._stop = threading.Event()
        self._sql = f"SELECT count(), sum(messages) FROM {plan.database}.stream_minutes WHERE stream_id = 'stream 7'"
        self._threads = [threading.Thread(target=self._read, args=(settings,)) for _ in range(2)]

    def __enter__(self) -> _Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self, settings: Settings) -> None:
        with ClickHouse(find_endpoint(settings)) as client:
            while not self._stop.wait(0.005):
                began = time.perf_counter()
                client.execute(self._sql)
                self.times.append((time.perf_counter() - began) * 1000)


def _measure_readers(settings: Settings, plan: Plan, client: ClickHouse) -> None:
    with _Readers(settings, plan) as alone:
        time.sleep(SECONDS)
    model = settings.project_dir / _MODEL
    model.write_text(model.read_text().replace("sum(characters) as characters", "max(characters) as characters"))
    changed = compile_project(settings).plan
    with _Readers(settings, plan) as beside:
        deploy(settings, changed, client, lambda _: None)
    _print(
        "readers during a deploy",
        reads=len(beside.times),
        worst_ms=round(max(beside.times), 1),
        worst_ms_before=round(max(alone.times), 1),
        p50_ms=round(statistics.median(beside.times), 1),
        p50_ms_before=round(statistics.median(alone.times), 1),
        ratio=round(max(beside.times) / max(alone.times), 2),
    )


def _print(what: str, **figures: float) -> None:
    print(json.dumps({"benchmark": what, **figures}), flush=True)


if __name__ == "__main__":
    main()
