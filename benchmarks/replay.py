"""Rows per second of the replay through the server, beside the same rows inserted directly.

    python benchmarks/replay.py [--rows N] [--runs N]

Both sides send blocks of the same size, four at a time, and fill the same landing table with the same states below
it. Ours is what `duet ingest` does: it reads the file, the server checks every row, and answers when it is on disk.
Theirs is clickhouse-connect with rows that are read and typed beforehand; it checks nothing. Runs alternate; medians
are printed as one JSON object a line.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from example import copied

from realtime.clickhouse.client import ClickHouse
from realtime.clickhouse.endpoint import find_endpoint
from realtime.compile import compile_project
from realtime.deploy.apply import deploy
from realtime.ingest.files import ROWS_A_REQUEST, load
from realtime.planner.ir import Plan, SourceSpec
from realtime.services import server_url, start, stop, wait_until_served
from realtime.settings import Settings

AT_ONCE = 4
"""Requests of `duet ingest` in flight."""
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Measures both sources of the example project."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=0, help="rows of each source; 0: all")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(copied(Path(folder)), {"DUET_CLICKHOUSE_PORT": "0", "DUET_SERVER_PORT": "0"})
        try:
            start(settings)
            plan = compile_project(settings).plan
            with ClickHouse(find_endpoint(settings)) as client:
                deploy(settings, plan, client, lambda text: None)
                wait_until_served(settings, plan)
                for spec in plan.sources:
                    _measure(settings, plan, spec, client, options.rows, options.runs)
        finally:
            stop(settings)


def _measure(settings: Settings, plan: Plan, spec: SourceSpec, client: ClickHouse, rows: int, runs: int) -> None:
    whole = ROOT / "data" / f"{spec.name}.ndjson"
    with whole.open() as lines:
        text = list(itertools.islice(lines, rows or None))

    blocks, names = list(_blocks(text, spec)), [c.name for c in spec.columns]

    def ours(run: int) -> None:
        # A file of another content: the same one would count as a repetition.
        file = settings.project_dir / f"run-{run}.ndjson"
        file.write_text("\n" * (run + 1) + "".join(text))
        began = time.perf_counter()
        load(server_url(settings), spec, [file], lambda done, total: None)
        taken["ours"].append(len(text) / (time.perf_counter() - began))

    def theirs(run: int) -> None:
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda block: client.insert(spec.landing, names, block), blocks))
        taken["theirs"].append(len(text) / (time.perf_counter() - began))

    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    sides: tuple[Callable[[int], None], ...] = (ours, theirs)
    for run, side in itertools.product(range(runs), sides):
        side(run)
        found = client.value(f"SELECT count() FROM {spec.landing}")
        assert found == len(text), f"{found} rows of {len(text)}"
        _empty(plan, client)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    record = {"case": f"replay {spec.name}", **{k: round(v) for k, v in medians.items()}}
    print(json.dumps({**record, "ratio": round(medians["ours"] / medians["theirs"], 2), "unit": "rows/s"}), flush=True)


def _blocks(text: list[str], spec: SourceSpec) -> Iterator[list[list[Any]]]:
    readers = [(c.name, _reader(c.clickhouse)) for c in spec.columns]
    for start_ in range(0, len(text), ROWS_A_REQUEST):
        rows = [json.loads(line) for line in text[start_ : start_ + ROWS_A_REQUEST]]
        yield [[read(row[name]) for name, read in readers] for row in rows]


def _reader(kind: str) -> Callable[[Any], Any]:
    if kind.startswith("DateTime64"):
        return dt.datetime.fromisoformat
    if kind.startswith("Date"):
        return dt.date.fromisoformat
    return lambda value: value


def _empty(plan: Plan, client: ClickHouse) -> None:
    tables = [s.landing for s in plan.sources] + [s.relation for step in plan.steps for s in step.states]
    for table in tables:
        client.execute(f"TRUNCATE TABLE {table} SYNC")


if __name__ == "__main__":
    main()
